"""Memory of runs: what a run asks for, what it would take, what a device has, and options that save some."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mentor_kit.backend.optimizer import FLOAT32, OptimizerSpec
from mentor_kit.core.frozen_model import FrozenModel, Json


@dataclass(frozen=True)
class MemoryLoad:
    """What a run asks of a policy at its widest."""

    sequences: int
    """Sequences that are sampled at once."""
    context: int
    """Tokens of the longest sequence."""
    train_tokens: int
    """Tokens in one micro-batch of the update; 0 for the backend's own budget."""
    optimizer: OptimizerSpec | None = field(default_factory=OptimizerSpec)
    """None where nothing is trained: no gradients, optimizer and activations then."""
    reference: bool = False
    """Whether a reference policy is kept."""
    prompt: int = 0
    """Tokens of the longest prompt; 0 where it is not known."""
    memory: int | None = None
    """Bytes of the device that it is planned for; None for this machine's."""


class MemoryEstimate(FrozenModel):
    """The memory that a run would take, by its uses."""

    parameters: int
    """The number of parameters."""
    trainable: int
    parts: dict[str, int]
    """Bytes of weights, gradients, optimizer, reference, keys and values, activations and logits."""
    notes: tuple[str, ...] = ()
    processes: int = 1
    """That share the work, each with memory like this."""
    exchanged: dict[str, int] = {}
    """Bytes that each process exchanges with the others, by what they are of and how often; without messages."""
    position: int = 0
    """Bytes of keys and values of a token."""
    rows: int = 0
    """Sequences of full length that are sampled at once."""
    micro_batch: int = 0
    """Tokens in a full micro-batch of the update; 0 where nothing is trained."""
    checkpointing: bool = False
    """Whether layers are computed again in the backward pass."""

    @property
    def total(self) -> int:
        """Bytes at most: sampling and updates take turns, and keys and values are freed for an update."""
        update = sum(self.parts.get(part, 0) for part in UPDATE_PARTS)
        sampling = sum(self.parts.get(part, 0) for part in SAMPLING_PARTS)
        return sum(self.parts.values()) - min(update, sampling)


GIB = 1 << 30
#: Parts of an estimate that are there in an update alone, and in sampling alone.
UPDATE_PARTS, SAMPLING_PARTS = ("gradients", "activations", "logits"), ("keys and values", "sampling")
#: The note of an estimate whose update is counted.
ACTIVATIONS_NOTE = "activations are an upper estimate, at a full micro-batch of the update"

_MEMINFO = Path("/proc/meminfo")
#: Where Linux reports the limit of a process's control group.
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class TrainedSize:
    """Numbers of a model that decide what training it takes."""

    trainable: int
    """Parameters that are trained."""
    moments: int
    """Bytes that the optimizer keeps for them (`OptimizerSpec.moment_bytes`); 0 where nothing is trained."""
    size: int
    """Bytes of a number in the model's type."""
    adapted: bool
    """Whether they are an adapter's, which is always in float32 and comes on top of the model."""


def training_parts(model: int, trained: TrainedSize, *, updated: bool, reference: int) -> dict[str, int]:
    """The parts of an estimate that no option of sampling or of the micro-batches changes, in bytes.

    Args:
        model: bytes of the model's weights.
        trained: the parameters that are trained.
        updated: whether anything is trained at all.
        reference: parameters of which the reference policy keeps a copy.
    """
    held = trained.trainable if updated else 0
    own = FLOAT32 if trained.adapted else trained.size
    # a 16-bit model that is trained itself has float32 masters
    masters = trained.trainable if trained.adapted else held if trained.size < FLOAT32 else 0
    return {
        "weights": model + masters * FLOAT32,
        "gradients": held * FLOAT32,
        "optimizer": trained.moments,
        "reference": reference * own,
    }


class DeviceMemory(FrozenModel):
    """The memory of the device that a backend runs on."""

    device: str
    """Its name, for people."""
    bytes: int
    usable: int
    """Bytes that a run may take; the rest is for libraries and fragmentation."""

    @staticmethod
    def of(device: str, bytes: int) -> DeviceMemory:
        """A device that leaves nine tenths of its memory to a run."""
        return DeviceMemory(device=device, bytes=bytes, usable=bytes * 9 // 10)


class Saving(FrozenModel):
    """An option of a backend that makes a run smaller."""

    option: str
    values: tuple[Json, ...]
    """Values in place of its own, each of which makes the run smaller than the one before."""


def main_memory() -> DeviceMemory | None:
    """The machine's own memory, or the process's share of it; None where the system does not report it."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return DeviceMemory.of("CPU", min([found, *_group_limits()]))


def available_memory() -> DeviceMemory | None:
    """The main memory that is not in use; None where the system does not report it.

    In whole GiB, rounded down, so that small differences of other programs do not change a run.
    """
    whole = main_memory()
    if whole is None:
        return None
    try:
        lines = _MEMINFO.read_text().splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return whole
    usable = min(whole.usable, free * 9 // 10)
    return DeviceMemory(device=whole.device, bytes=whole.bytes, usable=usable // GIB * GIB or usable)


def _group_limits() -> list[int]:
    found = []
    for path in _GROUPS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it is `max`
            continue
    return found
