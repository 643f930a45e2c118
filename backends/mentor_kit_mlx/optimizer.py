"""AdamW and Muon over a policy's trainable parameters, in float32 whatever the model's own type is.

Written out rather than taken from `mlx.optimizers`, whose Adam leaves the bias correction out unless asked, and whose
Muon has another scale; these are PyTorch's, so that a recipe means the same on both backends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.backend.optimizer import Optimizer, OptimizerSpec, exceeds
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.params import Arrays, put, read_now, trained, write

#: Newton and Schulz's polynomial, and how often it is applied (Jordan et al., 2024).
COEFFICIENTS, ITERATIONS, SMALLEST_NORM = (3.4445, -4.7750, 2.0315), 5, 1e-7


FILE = "optimizer.safetensors"


class MLXOptimizer(Optimizer):
    """Holds float32 masters of 16-bit parameters, so that updates smaller than their precision are not lost.

    Args:
        model: its trainable parameters are updated.
        spec: which optimizer.
        compiled: run the arithmetic of a parameter as one kernel; up to rounding the same.

    Raises:
        BackendError: the optimizer is none of this backend's.
    """

    def __init__(self, model: Any, spec: OptimizerSpec, *, compiled: bool = False) -> None:
        check_bits(spec)
        self.spec = spec
        self.steps = 0
        self._model = model
        own = trained(model)
        self._masters = {name: value.astype(mx.float32) for name, value in own.items() if value.dtype != mx.float32}
        self._muon = {
            name for name, value in own.items() if spec.takes_muon(value.ndim, is_table=_is_table(model, name))
        }
        self.gradients: Arrays = {}
        """Added up since the last step, in float32."""
        self._adamw = mx.compile(self._by_adamw) if compiled else self._by_adamw
        self._muon_step = mx.compile(self._by_muon) if compiled else self._by_muon
        self._first = {name: mx.zeros(value.shape) for name, value in own.items()}
        self._second = {name: mx.zeros(value.shape) for name, value in own.items() if name not in self._muon}

    def add(self, gradients: Arrays) -> None:
        """Add gradients up, in float32."""
        for name, value in gradients.items():
            new = value.astype(mx.float32)
            self.gradients[name] = self.gradients[name] + new if name in self.gradients else new
        mx.eval(self.gradients)

    def gradients_or_zeros(self, names: Collection[str]) -> Arrays:
        """A gradient for each of these trained parameters, also where there is none yet."""
        own = trained(self._model)
        return {name: self.gradients[name] if name in self.gradients else mx.zeros(own[name].shape) for name in names}

    def clear(self) -> None:
        self.gradients = {}

    def step(self, learning_rate: float) -> tuple[float, bool]:
        gradients, self.gradients = self.gradients, {}
        norm = float(mx.sqrt(sum((mx.sum(value * value) for value in gradients.values()), mx.array(0.0))))
        clip, clipped = self.spec.clip, exceeds(norm, self.spec.clip)
        factor = clip / (norm + 1e-6) if clip is not None and clipped else 1.0
        if gradients:
            self.steps += 1
        own = trained(self._model)
        changed: Arrays = {}
        how = self._scalars(learning_rate, factor)
        for name, gradient in gradients.items():
            old = self._masters.get(name, own[name])
            if name in self._muon:
                new, self._first[name] = self._muon_step(old, gradient, self._first[name], how)
            else:
                given = (old, gradient, self._first[name], self._second[name], how)
                new, self._first[name], self._second[name] = self._adamw(*given)
            if name in self._masters:
                self._masters[name] = new
            changed[name] = new.astype(own[name].dtype)
            mx.eval(changed[name], new)
        put(self._model, changed)
        mx.eval(self._first, self._second)
        return norm, clipped

    def save(self, folder: Path) -> None:
        write(folder / FILE, self.state())

    def state(self) -> Arrays:
        """Everything `load` needs, masters included."""
        parts = {"first": self._first, "second": self._second, "master": self._masters}
        arrays = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        return arrays | {"steps": mx.array(self.steps)}

    def load(self, state: Mapping[str, mx.array], weights: Mapping[str, mx.array]) -> None:
        """Load what `state` gave.

        Args:
            state: of an optimizer whose model may have had another type.
            weights: for masters that the state has none of, as its model was in float32.

        Raises:
            KeyError: the state is of other parameters.
        """
        for part, values in (("first", self._first), ("second", self._second)):
            values.update({name: state[f"{part}/{name}"] for name in values})
        self._masters.update({name: weights[name].astype(mx.float32) for name in self._masters})
        self.steps = int(state["steps"])

    def _scalars(self, rate: float, factor: float) -> dict[str, mx.array]:
        """Numbers that change from step to step, as arrays, so that nothing is compiled twice."""
        low, high = self.spec.betas
        steps = max(self.steps, 1)
        values = {
            "factor": factor,
            "rate": rate,
            "keep": 1 - rate * self.spec.weight_decay,
            "size": rate / (1 - low**steps),
            "spread": (1 - high**steps) ** 0.5,
        }
        return {name: mx.array(value) for name, value in values.items()}

    def _by_adamw(
        self, weight: mx.array, gradient: mx.array, first: mx.array, second: mx.array, how: dict[str, mx.array]
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Loshchilov and Hutter (arXiv 1711.05101), algorithm 2: the weight and both moments."""
        low, high = self.spec.betas
        gradient = gradient * how["factor"]
        first = low * first + (1 - low) * gradient
        second = high * second + (1 - high) * gradient * gradient
        root = mx.sqrt(second) / how["spread"] + self.spec.eps
        return weight * how["keep"] - how["size"] * first / root, first, second

    def _by_muon(
        self, weight: mx.array, gradient: mx.array, first: mx.array, how: dict[str, mx.array]
    ) -> tuple[mx.array, mx.array]:
        """Muon with Nesterov momentum, scaled as in arXiv 2502.16982, equation 4: the weight and its moment."""
        momentum = self.spec.momentum
        gradient = gradient * how["factor"]
        first = momentum * first + (1 - momentum) * gradient
        update = orthogonal((1 - momentum) * gradient + momentum * first)
        scale = 0.2 * max(weight.shape) ** 0.5
        return weight * how["keep"] - how["rate"] * scale * update, first


def read_state(folder: Path) -> Arrays:
    """The state that `MLXOptimizer.save` wrote.

    Raises:
        OSError, RuntimeError: there is no such file, or it is damaged.
    """
    return read_now(folder / FILE)


def exact_weights(weights: Mapping[str, mx.array], state: Mapping[str, mx.array]) -> Arrays:
    """A checkpoint's weights, or an optimizer's float32 masters where its model was in 16 bits."""
    return {name: state.get(f"master/{name}", value) for name, value in weights.items()}


def orthogonal(matrix: mx.array) -> mx.array:
    """An approximation of the nearest orthogonal matrix."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / mx.maximum(mx.linalg.norm(x), SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def moment_bytes(model: Any, spec: OptimizerSpec | None) -> int:
    """Bytes that an optimizer keeps for a model's trained parameters; 0 for none.

    Raises:
        BackendError: it is none of this backend's.
    """
    if spec is None:
        return 0
    check_bits(spec)
    own = trained(model)
    hidden = sum(value.size for name, value in own.items() if value.ndim == 2 and not _is_table(model, name))
    return spec.moment_bytes(sum(value.size for value in own.values()), hidden)


def check_bits(spec: OptimizerSpec) -> None:
    """Check that moments are kept in 32 bits.

    Raises:
        BackendError: they are not.
    """
    if spec.bits != 32:
        raise BackendError(
            f"mlx keeps an optimizer's moments in 32 bits, and `bits` is {spec.bits}",
            hint="leave the optimizer's `bits` out, or train with `backend.use: torch`",
        )


def _is_table(model: Any, name: str) -> bool:
    """Whether a parameter is the embeddings or the output projection."""
    module = model
    for part in name.split(".")[:-1]:
        module = module[int(part)] if isinstance(module, list) else module[part]
    return isinstance(module, (nn.Embedding, nn.QuantizedEmbedding)) or name == "lm_head.weight"
