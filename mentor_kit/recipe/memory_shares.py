"""What is set aside of the student's memory for other models of a recipe, such as its teacher's.

Dry runs and runs alike find it before a model is loaded, and hold each model to its share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mentor_kit.backend.hosted_model import ModelHost, memory_share, share_memory
from mentor_kit.backend.memory_plan import gib
from mentor_kit.backend.policy import Backend
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit.core.teacher import Teacher
from mentor_kit.recipe.model import Recipe
from mentor_kit.rl.reward import Reward
from mentor_kit.stages.workload import Workload

#: Tokens of a prompt that a share is made for; prompts are measured in dry runs alone, and runs have the same shares.
PROMPT = 1024


@dataclass(frozen=True)
class Guest:
    """A component with a model of its own."""

    name: str
    """For people."""
    host: ModelHost
    samples: bool
    """Whether it is asked for more than reading."""


@dataclass(frozen=True)
class MemoryShares:
    """Bytes of the student's device that are set aside for other models."""

    found: tuple[tuple[Guest, int], ...] = ()
    notes: tuple[str, ...] = ()
    """What is not counted, and why."""

    @property
    def total(self) -> int:
        """Of all."""
        return sum(share for _, share in self.found)

    def hold(self) -> None:
        """Hold each model to its share from here on, where its own options do not say what it may take."""
        for guest, share in self.found:
            if guest.host.hosted_model().backend.memory is None:
                guest.host.hold_to(share)

    def text(self) -> str:
        """A line for people."""
        return ", ".join(f"{gib(share)} for {guest.name}" for guest, share in self.found)


def guests_of(
    teacher: Teacher | None,
    reward: Reward | None,
    works: Mapping[str, Workload],
    build_teacher: Callable[[ComponentSpec], Teacher],
) -> list[Guest]:
    """The components with models that the stages may use.

    Args:
        teacher: the recipe's.
        reward: the recipe's.
        works: the workload of each stage by its key.
        build_teacher: builds a teacher that a stage's options name, the same as the stage gets.
    """
    uses = list(works.values())
    found: list[tuple[str, object, bool]] = []
    if any(work.is_taught or work.teacher for work in uses):
        found.append(
            (f"the teacher {teacher.name!r}" if teacher else "", teacher, any(work.is_taught for work in uses))
        )
    if reward is not None and any(work.reward for work in uses):
        found += [(f"the reward term {gate.name!r}", gate.term, True) for gate in reward.gates]
        found += [(f"the reward term {term.name!r}", term.term, True) for term in reward.terms]
    for use in [use for work in uses for use in work.own_teachers]:
        found.append((f"the teacher {use.teacher.use!r} of a stage", build_teacher(use.teacher), use.demonstrates))
    guests: dict[int, Guest] = {}
    for name, host, samples in found:
        if isinstance(host, ModelHost):
            known = guests.get(id(host))
            guests[id(host)] = Guest(name, host, samples or (known is not None and known.samples))
    return list(guests.values())


def set_aside(
    guests: Sequence[Guest], recipe: Recipe, works: Mapping[str, Workload], student: Backend, usable: int | None
) -> MemoryShares:
    """The bytes that are set aside for models on the student's device.

    Args:
        guests: from `guests_of`.
        recipe: the recipe.
        works: the workload of each stage by its key.
        student: the student's backend.
        usable: bytes of its device that the run may take; None where they are not known.
    """
    context = PROMPT + max([recipe.rollout.max_response_tokens, *(work.tokens or 0 for work in works.values())])
    sequences = max((work.problems for work in works.values()), default=1)
    found, notes = list[tuple[Guest, int]](), list[str]()
    for guest in guests:
        try:
            hosted = guest.host.hosted_model()
            if not share_memory(student, hosted.backend):
                notes.append(f"not counted: the model of {guest.name}, on another device")
                continue
            rows = sequences if guest.samples and hosted.samples else 1
            found.append((guest, memory_share(hosted, usable, sequences=rows, context=context)))
        except (MissingError, BackendError) as error:
            notes.append(f"not counted: the model of {guest.name}: {error.message}")
    return MemoryShares(tuple(found), tuple(notes))
