"""Models that a run holds beside its student, such as a teacher's, and what they need of a device's memory.

    usable ──> each model's weights ──> of the rest, a part for its passes ──> its backend
       └─────> what is left ─────────────────────────────────────────────────> the student's

What is set aside is known before a model is loaded (`mentor_kit.recipe.memory_shares`), and neither takes of the
other's. So a resumed run has the same memory as one that was not stopped, whichever models are loaded by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mentor_kit.backend.memory import GIB, MemoryLoad
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import StudentSpec

#: Bytes that passes are given where there are as many, and at least: kernels have arrays of their own.
USUAL_WORK, SMALLEST_WORK = GIB // 2, GIB // 16


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


@dataclass(frozen=True)
class ModelNeed:
    """What a hosted model needs, in bytes."""

    weights: int
    least: int
    """Passes, keys and values of one sequence."""
    work: int
    """Those of all; with less it takes longer."""


def share_memory(one: Backend, other: Backend, *, planned: bool = False) -> bool:
    """Whether two backends load models into one memory.

    Args:
        one: a backend.
        other: another one.
        planned: whether a GPU is planned for which this machine may not have.
    """
    auto = "cuda:0" if planned else "main memory"
    places = {auto if place == "auto" else place for place in (one.place(), other.place())}
    return places != {""} and len(places) == 1


def model_need(hosted: HostedModel, usable: int | None, *, sequences: int, context: int) -> ModelNeed:
    """What a model needs: its weights, and a quarter more than its passes, keys and values are estimated to take.

    Args:
        hosted: the model.
        usable: bytes of the device that a run may take; None where they are not known.
        sequences: that it samples at once; 1 where it only reads, as a pass of reading takes what one of sampling does.
        context: tokens of the longest one.

    Raises:
        MissingError, BackendError: as `Backend.estimate`.
    """
    load = MemoryLoad(sequences=sequences, context=context, train_tokens=0, optimizer=None, memory=usable)
    found = hosted.backend.estimate(hosted.model, load)
    weights, kept = found.parts.get("weights", 0), found.parts.get("keys and values", 0)
    # while keys and values grow, those of a few layers exist twice
    least = 2 * kept // max(found.rows, 1) + SMALLEST_WORK
    return ModelNeed(weights, least, max((found.total - weights) * 5 // 4, USUAL_WORK, least))
