"""Sums of matrix products in float32, of matrices in 16 bits."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right, (n, m), to a total in float32.

    Where the GPU has such a product, nothing is rounded to 16 bits on the way, and the total is read and written once.
    """
    if left.device.type == "cuda" and left.dtype != torch.float32 and adds_in_float32(left.device, left.dtype):
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total += left @ right


@cache
def adds_in_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether PyTorch adds products of matrices of this type to one in float32, by a trial (PyTorch 2.8, on CUDA)."""
    draws = torch.Generator().manual_seed(0)
    left, right, total = (torch.randn(shape, generator=draws) for shape in ((48, 32), (32, 16), (48, 16)))
    left, right = left.to(dtype), right.to(dtype)
    expected = total.double() + left.double() @ right.double()
    found = total.to(device)
    try:
        torch.addmm(found, left.to(device), right.to(device), out_dtype=torch.float32, out=found)
    except (RuntimeError, TypeError):  # without this product, NotImplementedError is among them
        return False
    return torch.allclose(found.cpu().double(), expected, rtol=1e-4, atol=1e-4)
