"""The plan of evaluations: on which splits, how often during training, and under which names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from mentor_kit.core.component import ComponentSpec, EvaluationSpec, TeacherSpec
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN

#: Problems whose episodes the student runs side by side.
BATCH = 512


class SplitPlan(OptionModel, FrozenModel):
    """One split to evaluate on."""

    split: str
    """A split of the task."""
    problems: int = Field(default=100, gt=0)
    """How many of its problems."""
    samples: int = Field(default=1, ge=0)
    """Sampled episodes per problem, beside the greedy one; 0 for greedy alone."""
    pass_at: tuple[int, ...] = ()
    """The k of pass@k, none above `samples`; powers of two up to `samples`, and `samples`, if left out."""
    clusters: Literal["problem", "group"] = "problem"
    """What is independent of each other: problems, or their groups, where problems of a group depend on each other."""

    @field_validator("pass_at")
    @classmethod
    def _enough_samples(cls, ks: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        samples = info.data.get("samples", 0)
        if any(not 1 <= k <= samples for k in ks):
            raise ValueError(f"{', '.join(map(str, ks))} must be between 1 and the number of `samples`, {samples}")
        return ks


class EvaluationPlan(OptionModel, FrozenModel):
    """When to evaluate during training stages, and on what."""

    every: int = Field(default=0, ge=0)
    """Evaluate after every so many steps; 0 for never in between."""
    at_start: bool = True
    """Evaluate before the first step of the first training stage."""
    at_end: bool = True
    """Evaluate after the last step of each training stage."""
    on: tuple[SplitPlan | EvaluationSpec, ...] = ()
    """Splits of the task, and evaluations of plugins as `{use: name, with: {…}}`."""
    agent: TeacherSpec | None = None
    """A teacher that the stage `evaluate` evaluates in the student's place, such as a model behind a server."""

    @property
    def sequences(self) -> int:
        """Largest number of sequences that the student generates at once; evaluations of plugins are not counted."""
        return sequences_at_once(self.on)

    def due(self, step: int, steps: int) -> bool:
        """Whether to evaluate after `step` of `steps`."""
        if step == steps:
            return self.at_end
        return self.every > 0 and step % self.every == 0


#: Both evaluation splits: what the stage `evaluate` evaluates on where neither its options nor the recipe say.
DEFAULT_SPLITS = (SplitPlan(split=IN_DOMAIN), SplitPlan(split=OUT_OF_DOMAIN))


def sequences_at_once(on: Sequence[SplitPlan | ComponentSpec]) -> int:
    """Largest number of sequences that the student generates at once in these evaluations."""
    splits = (plan for plan in on if isinstance(plan, SplitPlan))
    return max((min(plan.problems, BATCH) * max(plan.samples, 1) for plan in splits), default=0)


def plan_names(on: Sequence[SplitPlan | ComponentSpec]) -> list[str]:
    """The names of the evaluations in files, metrics and tables.

    A split's evaluation has the split's name. Where several are of one split, all but the first have a number behind
    it: `in-domain`, `in-domain-2`. Evaluations of plugins are named by their reports; here their names are empty.
    """
    names = UniqueNames()
    reserved = {plan.split for plan in on if isinstance(plan, SplitPlan)}
    found = []
    for plan in on:
        found.append(names.add(plan.split, reserved) if isinstance(plan, SplitPlan) else "")
    return found


class UniqueNames:
    """Names that differ from each other."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def add(self, name: str, reserved: Collection[str] = ()) -> str:
        """The name itself, or if it is taken, with the smallest number from 2 behind it that makes it a new one.

        Args:
            name: the wanted name.
            reserved: names that no numbered name may become.
        """
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        if name in self._taken:
            name = next(new for new in numbered if new not in self._taken and new not in reserved)
        self._taken.add(name)
        return name


def file_name(name: str) -> str:
    """The name with only the characters that file names have on every system; two names may become one."""
    return re.sub(r"[^\w .+@=-]", "-", name)[:100]
