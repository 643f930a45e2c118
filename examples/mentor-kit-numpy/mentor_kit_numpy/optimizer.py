"""AdamW (arXiv 1711.05101); Muon is for hidden matrices, and the model has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mentor_kit.backend.optimizer import Optimizer, OptimizerSpec, exceeds
from safetensors.numpy import save_file

from mentor_kit_numpy.model import Array

FILE = "optimizer.safetensors"


class AdamW(Optimizer):
    """Over parameters that change in place."""

    def __init__(self, parameters: dict[str, Array], spec: OptimizerSpec) -> None:
        self.spec = spec
        self._parameters = parameters
        self.state: dict[str, Array] = {"steps": np.zeros((), dtype=np.int64)}
        for name, value in parameters.items():
            self.state |= {f"mean.{name}": np.zeros_like(value), f"square.{name}": np.zeros_like(value)}
        self.clear()

    def add(self, gradients: dict[str, Array]) -> None:
        """Add gradients to those that the next step takes."""
        for name, value in gradients.items():
            self._gradients[name] += value

    def step(self, learning_rate: float) -> tuple[float, bool]:
        gradients = self._gradients
        self.clear()
        norm = float(np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradients.values())))
        clipped = exceeds(norm, self.spec.clip)
        self.state["steps"] += 1
        steps, (first, second) = int(self.state["steps"]), self.spec.betas
        for name, value in self._parameters.items():
            gradient = gradients[name] * np.float32(self.spec.clip / norm if clipped and self.spec.clip else 1.0)
            mean, square = self.state[f"mean.{name}"], self.state[f"square.{name}"]
            mean += np.float32(1 - first) * (gradient - mean)
            square += np.float32(1 - second) * (gradient * gradient - square)
            scale = np.sqrt(square / np.float32(1 - second**steps)) + np.float32(self.spec.eps)
            value *= np.float32(1 - learning_rate * self.spec.weight_decay)
            value -= np.float32(learning_rate / (1 - first**steps)) * mean / scale
        return norm, clipped

    def clear(self) -> None:
        self._gradients = {name: np.zeros_like(value) for name, value in self._parameters.items()}

    def save(self, folder: Path) -> None:
        save_file(self.state, folder / FILE)
