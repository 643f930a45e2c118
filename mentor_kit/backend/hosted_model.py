"""Models that a run holds beside its student, such as a teacher's, and what is set aside for them of a device's memory.

    usable ──> weights, and for passes and keys and values at most a quarter of what they leave ──> the model's backend
       └─────> the rest ────────────────────────────────────────────────────────────────────────> the student's

Both are known before the student is loaded, and neither takes of the other's, so that a resumed run has the same memory
as one that was not stopped, whichever models are loaded by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mentor_kit.backend.memory import GIB, MemoryLoad
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import StudentSpec

#: Bytes that are set aside for passes at least, where there are as many.
SMALLEST_WORK = GIB // 2
#: The part of what a model's weights leave that is set aside for its passes, keys and values, at most.
WORK_PART = 4


@dataclass(frozen=True)
class HostedModel:
    """A model that is loaded in this process beside the student, and never trained."""

    backend: Backend
    model: StudentSpec
    samples: bool = True
    """Whether it samples here; False where it only reads, or is sampled elsewhere."""


@runtime_checkable
class ModelHost(Protocol):
    """A component with a model of its own in this process, such as a teacher."""

    def hosted_model(self) -> HostedModel:
        """The model; it is not loaded for it.

        Raises:
            MissingError: it is nowhere on this machine.
        """

    def hold_to(self, memory: int) -> None:
        """Hold the model to so many bytes of its device. Called before it is loaded."""


def share_memory(one: Backend, other: Backend) -> bool:
    """Whether two backends load models into one memory."""
    places = {one.place, other.place}
    return "" not in places and (len(places) == 1 or "auto" in places)


def memory_share(hosted: HostedModel, usable: int | None, *, sequences: int, context: int) -> int:
    """The bytes that are set aside for a model.

    They are those that its backend's options allow, or else its weights and a quarter more than its passes, keys and
    values are estimated to take, but of what the weights leave no more than a quarter.

    Args:
        hosted: the model.
        usable: bytes of the device that a run may take; None where they are not known.
        sequences: that it samples at once; 1 where it only reads, as a pass of reading takes what one of sampling does.
        context: tokens of the longest one.

    Raises:
        MissingError, BackendError: as `Backend.estimate`.
    """
    if hosted.backend.memory is not None:
        return hosted.backend.memory
    load = MemoryLoad(sequences=sequences, context=context, train_tokens=0, optimizer=None, memory=usable)
    found = hosted.backend.estimate(hosted.model, load)
    weights = found.parts["weights"]
    work = max((found.total - weights) * 5 // 4, SMALLEST_WORK)
    return weights + (work if usable is None else min(work, max(usable - weights, 0) // WORK_PART))
