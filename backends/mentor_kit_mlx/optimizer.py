"""AdamW and Muon over a policy's trainable parameters, in float32 whatever the model's own type is.

Written out rather than taken from `mlx.optimizers`, whose Adam leaves the bias correction out unless asked, and whose
Muon has another scale; these are PyTorch's, so that a recipe means the same on both backends.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.errors import BackendError
from mentor_kit.policy import OptimizerSpec
from mentor_kit_mlx.trees import Arrays, put, trained

#: Newton and Schulz's polynomial, and how often it is applied (Jordan et al., 2024).
COEFFICIENTS, ITERATIONS, SMALLEST_NORM = (3.4445, -4.7750, 2.0315), 5, 1e-7


class Optimizer:
    """Holds float32 masters of 16-bit parameters, so that updates smaller than their precision are not lost."""

    def __init__(self, model: Any, spec: OptimizerSpec) -> None:
        self.spec = spec
        self.steps = 0
        self._model = model
        own = trained(model)
        self._masters = {name: value.astype(mx.float32) for name, value in own.items() if value.dtype != mx.float32}
        self._muon = {
            name for name, value in own.items() if spec.use == "muon" and value.ndim == 2 and not _table(model, name)
        }
        self._gradients: Arrays = {}
        self._first = {name: mx.zeros(value.shape) for name, value in own.items()}
        self._second = {name: mx.zeros(value.shape) for name, value in own.items() if name not in self._muon}

    def add(self, gradients: Arrays) -> None:
        """Add gradients up, in float32."""
        for name, value in gradients.items():
            new = value.astype(mx.float32)
            self._gradients[name] = self._gradients[name] + new if name in self._gradients else new
        mx.eval(self._gradients)

    def clear(self) -> None:
        """Forget the gradients."""
        self._gradients = {}

    def step(self, learning_rate: float) -> tuple[float, bool]:
        """Update with the gradients there are and clear them; the gradient's norm, and whether it was clipped.

        Raises:
            BackendError: the gradient is not finite; nothing was changed.
        """
        gradients, self._gradients = self._gradients, {}
        norm = float(mx.sqrt(sum((mx.sum(value * value) for value in gradients.values()), mx.array(0.0))))
        if norm - norm != 0:
            raise BackendError(
                f"the gradient's norm is {norm}", hint="lower the learning rate, or use `dtype: float32`"
            )
        clip = self.spec.clip
        clipped = clip is not None and norm > clip
        factor = clip / (norm + 1e-6) if clip is not None and clipped else 1.0
        if gradients:
            self.steps += 1
        own = trained(self._model)
        changed: Arrays = {}
        for name, gradient in gradients.items():
            old = self._masters.get(name, own[name])
            new = (self._by_muon if name in self._muon else self._by_adamw)(name, old, gradient * factor, learning_rate)
            if name in self._masters:
                self._masters[name] = new
            changed[name] = new.astype(own[name].dtype)
            mx.eval(changed[name], new)
        put(self._model, changed)
        mx.eval(self._first, self._second)
        return norm, clipped

    def state(self) -> Arrays:
        """Everything `load` needs, masters included."""
        parts = {"first": self._first, "second": self._second, "master": self._masters}
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def load(self, state: Arrays, steps: int) -> None:
        """Bring back what `state` gave.

        Raises:
            KeyError: the state is of other parameters.
        """
        for part, values in (("first", self._first), ("second", self._second), ("master", self._masters)):
            values.update({name: state[f"{part}/{name}"] for name in values})
        self.steps = steps

    def _by_adamw(self, name: str, weight: mx.array, gradient: mx.array, rate: float) -> mx.array:
        """Loshchilov and Hutter (arXiv 1711.05101), algorithm 2."""
        low, high = self.spec.betas
        first = self._first[name] = low * self._first[name] + (1 - low) * gradient
        second = self._second[name] = high * self._second[name] + (1 - high) * gradient * gradient
        root = mx.sqrt(second) / (1 - high**self.steps) ** 0.5 + self.spec.eps
        size = rate / (1 - low**self.steps)
        new: mx.array = weight * (1 - rate * self.spec.weight_decay) - size * first / root
        return new

    def _by_muon(self, name: str, weight: mx.array, gradient: mx.array, rate: float) -> mx.array:
        """Muon with Nesterov momentum, scaled as in arXiv 2502.16982, equation 4."""
        momentum = self.spec.momentum
        first = self._first[name] = momentum * self._first[name] + (1 - momentum) * gradient
        update = orthogonal((1 - momentum) * gradient + momentum * first)
        scale = 0.2 * max(weight.shape) ** 0.5
        new: mx.array = weight * (1 - rate * self.spec.weight_decay) - rate * scale * update
        return new


def orthogonal(matrix: mx.array) -> mx.array:
    """Nearly the orthogonal matrix nearest to this one."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / mx.maximum(mx.linalg.norm(x), SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def _table(model: Any, name: str) -> bool:
    """Whether a parameter is a table of tokens rather than a hidden matrix."""
    module = model
    for part in name.split(".")[:-1]:
        module = module[int(part)] if isinstance(module, list) else module[part]
    return isinstance(module, (nn.Embedding, nn.QuantizedEmbedding)) or name == "lm_head.weight"
