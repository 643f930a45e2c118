"""What a policy has done, and what its device could do at best; only `mentorkit bench` asks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from mentor_kit.core.frozen_model import FrozenModel


class MachineLimits(FrozenModel):
    """What a device does at best, in a policy's type of number."""

    flops: float
    """Of large matrix products, a second."""
    bandwidth: float
    """Bytes read and written while copying, a second."""


class Work(FrozenModel):
    """What a policy has done of one kind, in all."""

    seconds: float = 0.0
    tokens: int = 0
    """Run through the model."""
    flops: float = 0.0
    bytes: float = 0.0
    """Read at least: the weights once a pass, and the keys and values that were attended to."""


@runtime_checkable
class Measured(Protocol):
    """A policy that counts its work and can tell what its machine would allow; optional, for `mentorkit bench`."""

    def limits(self) -> MachineLimits:
        """Measured now; takes about a second."""
        ...

    def work(self) -> dict[str, Work]:
        """Since it was loaded, by kind: prefill, decode, update."""
        ...

    def peak_memory(self) -> int | None:
        """The most bytes that were used of the device; None where that is the process's own memory."""
        ...
