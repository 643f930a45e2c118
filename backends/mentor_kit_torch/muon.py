"""Muon whose Newton-Schulz iteration runs in float32 on a CPU.

torch's own takes bfloat16 everywhere. A CPU without instructions for it is some twelve times slower in that, which
makes the iteration more work than all else of a small model's update; in float32 it is also more exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class MatrixOptimizer(torch.optim.Muon):
    """`torch.optim.Muon` with the learning rate matched to AdamW's, as Liu et al. (2025) scale it."""

    def __init__(self, matrices: list[Tensor], *, momentum: float, weight_decay: float) -> None:
        super().__init__(matrices, lr=0.0, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        matrices = [matrix for group in self.param_groups for matrix in group["params"]]
        if any(matrix.device.type != "cpu" for matrix in matrices):
            return super().step(closure)  # type: ignore[no-untyped-call]
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step_one(matrix, matrix.grad, group)
        return None

    def _step_one(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonal(
            gradient.lerp(average, group["momentum"]), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-0.2 * max(matrix.shape) ** 0.5 * group["lr"])


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """An approximation of the nearest orthogonal matrix, by Newton and Schulz's polynomial (Jordan et al., 2024)."""
    a, b, c = coefficients
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
