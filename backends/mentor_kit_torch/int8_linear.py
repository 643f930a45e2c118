"""A linear layer of 8-bit weights; bitsandbytes is imported here, so this module is imported only where it is used."""

from __future__ import annotations

import bitsandbytes
import torch
from torch import Tensor


class Int8Linear(bitsandbytes.nn.Linear8bitLt):  # type: ignore[misc]
    """Multiplies its input, as it is, by 8-bit weights that are widened for the product.

    Each row of weights has a scale: the largest magnitude in it is 127.
    """

    def forward(self, x: Tensor) -> Tensor:
        scales = self.weight.SCB if self.state.SCB is None else self.state.SCB
        weight = self.weight.data.to(x.dtype) * (scales / 127).to(x.dtype).unsqueeze(1)
        return torch.nn.functional.linear(x, weight, None if self.bias is None else self.bias.to(x.dtype))
