"""Work that a policy has done, and what its device does at best: for benchmarks."""

from __future__ import annotations

from mentor_kit.core.frozen_model import FrozenModel


class MachineLimits(FrozenModel):
    """What a device does at best, in the floating-point type of a policy."""

    flops: float
    """Floating-point operations a second, in large matrix products."""
    bandwidth: float
    """Bytes a second, read and written while copying."""


class Work(FrozenModel):
    """The work of one kind that a policy has done in all."""

    seconds: float = 0.0
    tokens: int = 0
    """Tokens that were run through the model."""
    flops: float = 0.0
    bytes: float = 0.0
    """Bytes read at least: the weights once a pass, and the keys and values that were attended to."""
