"""A linear layer of 8-bit weights; bitsandbytes is imported here, so this module is imported only where it is used."""

from __future__ import annotations

from typing import Any

import bitsandbytes
import torch
from torch import Tensor


class Int8Linear(bitsandbytes.nn.Linear8bitLt):  # type: ignore[misc]
    """Multiplies its input, as it is, by 8-bit weights that are widened for the product.

    Each row of weights has a scale: the largest magnitude in it is 127.
    """

    def forward(self, x: Tensor) -> Tensor:
        scales = self.weight.SCB if self.state.SCB is None else self.state.SCB
        found: Tensor = _Product.apply(x, self.weight.data, scales)  # type: ignore[no-untyped-call]
        return found if self.bias is None else found + self.bias.to(x.dtype)


class _Product(torch.autograd.Function):
    """The product with weights that are widened anew in the backward pass, and not kept wide until then."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
        """(…, out)."""
        ctx.save_for_backward(weight, scales)
        return torch.nn.functional.linear(x, _widened(weight, scales, x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Of the input alone: such weights are not trained."""
        (grad,) = grads
        weight, scales = ctx.saved_tensors
        return grad @ _widened(weight, scales, grad.dtype), None, None


def _widened(weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype) * (scales / 127).to(dtype).unsqueeze(1)
