"""What is set aside of the student's memory for other models of a recipe, such as its teacher's.

Dry runs and runs alike find it before a model is loaded, and runs hold each model to its share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mentor_kit.backend.hosted_model import HostedModel, ModelHost, ModelNeed, model_need, share_memory
from mentor_kit.backend.memory_plan import gib
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.teacher import Teacher
from mentor_kit.recipe.memory_loads import memory_loads
from mentor_kit.recipe.model import Recipe
from mentor_kit.rl.reward import Reward
from mentor_kit.stages.workload import Workload

#: Tokens of a prompt that a share is made for; prompts are measured in dry runs alone, and runs have the same shares.
PROMPT = 1024
#: Of what all weights leave, the part that is set aside for the passes of other models, at most.
WORK_PART = 4
#: The parts of an estimate that a student has whatever its passes and micro-batches are.
HELD = ("weights", "gradients", "optimizer", "reference")


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
    left: int | None = None
    """Bytes that the student may take; None where that is not known."""
    held: int = 0
    """Bytes that it takes at least."""
    notes: tuple[str, ...] = ()
    """What is set aside, and what is not counted, and why."""
    short: tuple[str, ...] = ()
    """Models that do not fit into what their own options say."""

    @property
    def total(self) -> int:
        """Of all."""
        return sum(share for _, share in self.found)

    def hold(self) -> None:
        """Hold each model to its share from here on, where its own options do not say what it may take."""
        for guest, share in self.found:
            if guest.host.hosted_model().backend.memory_limit() is None:
                guest.host.hold_to(share)

    def text(self) -> str:
        """What is set aside, in words."""
        return ", ".join(f"{gib(share)} for {guest.name}" for guest, share in self.found)


def guests_of(
    recipe: Recipe,
    teacher: Teacher | None,
    reward: Reward | None,
    works: Mapping[str, Workload],
    build_teacher: Callable[[ComponentSpec], Teacher],
) -> list[Guest]:
    """The components with models that the stages use.

    Args:
        recipe: the recipe.
        teacher: its teacher, built.
        reward: its reward, built.
        works: the workload of each stage by its key.
        build_teacher: builds a teacher that a stage's options name, the same as the stage gets.
    """
    found = list[tuple[str, Teacher, bool]]()
    demonstrates = _evaluates(recipe, works) or any(
        work.demonstrations or work.reward or not work.is_known for work in works.values()
    )
    if teacher is not None and (demonstrates or any(work.teacher for work in works.values())):
        found.append((f"the teacher {teacher.name!r}", teacher, demonstrates))
    for use in [use for work in works.values() for use in work.own_teachers]:
        try:
            found.append((f"the teacher {use.teacher.use!r} of a stage", build_teacher(use.teacher), use.demonstrates))
        except MentorKitError:
            continue  # the stage says so where it uses it, which it may have done already
    hosts = [(name, host, samples) for name, owner, samples in found for host in owner.model_hosts()]
    if reward is not None and (demonstrates or any(work.reward for work in works.values())):
        terms = [(gate.name, gate.term) for gate in reward.gates] + [(term.name, term.term) for term in reward.terms]
        hosts += [(f"the reward term {name!r}", host, True) for name, term in terms for host in term.model_hosts()]
    guests: dict[int, Guest] = {}
    for name, host, samples in hosts:
        if isinstance(host, ModelHost):
            known = guests.get(id(host))
            guests[id(host)] = Guest(name, host, samples or (known is not None and known.samples))
    return list(guests.values())


def _evaluates(recipe: Recipe, works: Mapping[str, Workload]) -> bool:
    """Whether anything is evaluated, for which the recipe's teacher is asked to compare with."""
    plan = recipe.evaluate
    in_stages = bool(plan.on) and (plan.at_start or plan.at_end or plan.every > 0)
    alone = any(work.student and not work.trains and work.episodes for work in works.values())
    return alone or (in_stages and any(work.evaluates and work.trains for work in works.values()))


def set_aside(
    guests: Sequence[Guest],
    recipe: Recipe,
    works: Mapping[str, Workload],
    backend: Backend,
    student: StudentSpec,
    usable: int | None,
    *,
    planned: bool = False,
) -> MemoryShares:
    """The bytes that are set aside for models on the student's device.

    Weights are, and passes of one sequence. Passes of more have a part of what these and the student's weights,
    gradients and optimizer leave; all of it, where the student's options say what it may take.

    Args:
        guests: from `guests_of`.
        recipe: the recipe.
        works: the workload of each stage by its key.
        backend: the student's.
        student: the student.
        usable: bytes of its device that the run may take; None where they are not known.
        planned: whether they are of a device that is planned for.
    """
    needs, notes = _needs(guests, recipe, works, backend, usable, planned=planned)
    if not needs:
        return MemoryShares(left=usable, notes=tuple(notes))
    own = backend.memory_limit()
    held = _held(recipe, works, backend, student, usable) if own is None else own
    limits = [hosted.backend.memory_limit() for _, hosted, _ in needs]
    fixed = [
        need.weights + need.least if limit is None else limit for (*_, need), limit in zip(needs, limits, strict=True)
    ]
    rest = None if usable is None else max(usable - held - sum(fixed), 0) // max(limits.count(None), 1)
    part = rest if rest is None or own is not None else rest // WORK_PART
    found = tuple(
        (guest, least if limit is not None else least + _more(need, part))
        for (guest, _, need), limit, least in zip(needs, limits, fixed, strict=True)
    )
    short = [
        f"the model of {guest.name} does not fit into its `memory`, {gib(limit)}: its weights take {gib(need.weights)}"
        for (guest, _, need), limit in zip(needs, limits, strict=True)
        if limit is not None and limit < need.weights
    ]
    shares = MemoryShares(found, None, held, short=tuple(short))
    left = None if usable is None else max(usable - shares.total, 0)
    return replace(shares, left=left, notes=(f"set aside: {shares.text()}", *short, *notes))


def _more(need: ModelNeed, part: int | None) -> int:
    """What a model is given beside its least."""
    wanted = need.work - need.least
    return wanted if part is None else min(wanted, part)


def _needs(
    guests: Sequence[Guest],
    recipe: Recipe,
    works: Mapping[str, Workload],
    backend: Backend,
    usable: int | None,
    *,
    planned: bool,
) -> tuple[list[tuple[Guest, HostedModel, ModelNeed]], list[str]]:
    """What those on the student's device need, and a note for each other one."""
    context = PROMPT + max([recipe.rollout.max_response_tokens, *(work.tokens or 0 for work in works.values())])
    sequences = max([1, recipe.evaluate.sequences, *(work.problems for work in works.values())])
    needs, notes = list[tuple[Guest, HostedModel, ModelNeed]](), list[str]()
    for guest in guests:
        try:
            hosted = guest.host.hosted_model()
            if not share_memory(backend, hosted.backend, planned=planned):
                where = "on another device" if hosted.backend.place() and backend.place() else "on a device unknown"
                notes.append(f"not counted: the model of {guest.name}, {where}")
                continue
            rows = sequences if guest.samples and hosted.samples else 1
            needs.append((guest, hosted, model_need(hosted, usable, sequences=rows, context=context)))
        except MentorKitError as error:
            notes.append(f"not counted: the model of {guest.name}: {error.message}")
    return needs, notes


def _held(
    recipe: Recipe, works: Mapping[str, Workload], backend: Backend, student: StudentSpec, usable: int | None
) -> int:
    """The bytes that the student takes in all stages, passes and micro-batches aside."""
    loads = memory_loads(recipe, PROMPT, works)
    estimates = [backend.estimate(student, replace(load, memory=usable)) for load in loads]
    return max((sum(found.parts.get(part, 0) for part in HELD) for found in estimates), default=0)
