"""Array namespaces for contract suites: the same numbers as arrays of NumPy, PyTorch and MLX, and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.rl.arrays import Array

#: Namespaces that differentiate; a suite skips those that are not installed.
DIFFERENTIABLE = ("torch", "mlx.core")


@dataclass(frozen=True)
class Namespace:
    """An array namespace, and how numbers become its arrays."""

    xp: Any
    dtype: type[Any]
    """NumPy's type of the arrays: float32 for MLX, float64 for the others."""

    @classmethod
    def of(cls, name: str) -> Namespace:
        """The namespace `numpy`, `torch` or `mlx.core`; skips the test where it is not installed."""
        return cls(pytest.importorskip(name), np.float32 if name == "mlx.core" else np.float64)

    @property
    def tolerance(self) -> float:
        """How far results may be off, relatively and absolutely, by rounding."""
        return 1e-9 if self.dtype is np.float64 else 2e-4

    def array(self, values: Any) -> Array:
        """Numbers as an array of the namespace."""
        plain = np.array(values, dtype=self.dtype)
        if self.xp is np:
            return plain
        return self.xp.array(plain) if hasattr(self.xp, "array") else self.xp.tensor(plain)

    def numbers(self, array: Array) -> NDArray[np.float64]:
        """An array of the namespace as NumPy's."""
        plain = array.detach().cpu().numpy() if hasattr(array, "detach") else array
        return np.array(plain, dtype=np.float64)

    def gradient(self, function: Callable[[Array], Array], at: Array) -> NDArray[np.float64]:
        """The gradient of a scalar function."""
        if hasattr(self.xp, "grad"):
            return self.numbers(self.xp.grad(function)(at))
        leaf = at.clone().requires_grad_()
        function(leaf).backward()
        return self.numbers(leaf.grad)
