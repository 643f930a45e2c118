"""The numbers of `mentor_kit.utils.randomness.uniforms`, computed where the positions are.

PyTorch's int64 stands for uint64: sums and products of the two have the same bits, and bits that are shifted to the
right are masked, as the sign would follow them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def uniforms(mixed_seeds: Tensor, positions: Tensor) -> Tensor:
    """Uniform numbers (n,) in [0, 1), in float64.

    Args:
        mixed_seeds: (n,) int64, the bits of `mentor_kit.utils.randomness.mixed_seeds`.
        positions: (n,) int64.
    """
    state = torch.add(mixed_seeds, positions, alpha=_GOLDEN).add_(_GOLDEN)
    return _shifted(_mix(state), 11).double().mul_(2.0**-53)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)).mul_(_MIX_1)
    z = (z ^ _shifted(z, 27)).mul_(_MIX_2)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """To the right, zeros following."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)
