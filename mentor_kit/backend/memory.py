"""What a machine has of memory, and which settings of a backend make a run smaller: for plans of runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.frozen_model import FrozenModel, Json


@dataclass(frozen=True)
class MemoryLoad:
    """What a recipe asks of a policy at its widest."""

    sequences: int
    """Sampled at once."""
    context: int
    """Tokens of the longest sequence."""
    train_tokens: int
    """Tokens in one micro-batch of the update; 0 lets the backend take its own budget."""
    optimizer: OptimizerSpec | None = field(default_factory=OptimizerSpec)
    """None where nothing is trained: no gradients, optimizer and activations then."""
    reference: bool = False
    """Whether a reference policy is kept."""


class MemoryEstimate(FrozenModel):
    """Bytes, by what they are for."""

    parameters: int
    """The number of parameters."""
    trainable: int
    parts: dict[str, int]
    """Bytes: weights, gradients, optimizer, reference, keys and values, activations."""
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All parts together, in bytes."""
        return sum(self.parts.values())


GIB = 1 << 30

#: Where Linux says how much memory a process's control group may take.
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class DeviceMemory(FrozenModel):
    """The memory of the device that a backend runs on."""

    device: str
    """As people know it."""
    bytes: int
    usable: int
    """What a run's weights, activations and the like may take of it; the rest is for libraries and fragments."""

    @staticmethod
    def of(device: str, bytes: int) -> DeviceMemory:
        """A device that leaves nine tenths of its memory to a run."""
        return DeviceMemory(device=device, bytes=bytes, usable=bytes * 9 // 10)


class Saving(FrozenModel):
    """An option of a backend that makes a run smaller."""

    option: str
    values: tuple[Json, ...]
    """In place of the one it has, each smaller than the one before."""


def main_memory() -> DeviceMemory | None:
    """This machine's own memory, or what the process may take of it; None where the system does not tell."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return DeviceMemory.of("CPU", min([found, *_group_limits()]))


def halves(value: int, least: int) -> tuple[int, ...]:
    """A number's halves, rounded down to powers of two, that are not below `least`."""
    powers = (1 << exponent for exponent in range(value.bit_length(), -1, -1))
    return tuple(power for power in powers if least <= power < value)


def _group_limits() -> list[int]:
    found = []
    for path in _GROUPS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it is `max`
            continue
    return found
