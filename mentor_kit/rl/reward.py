"""The reward: gates first, then a weighted sum of terms (MENTOR, arXiv 2510.18383, section 3).

    R(τ) = otherwise_g                                for the first gate g with score_g(τ) < threshold_g
    R(τ) = Σ_i weight_i · factor_i · score_i(τ)       when every gate is passed

    factor_i = schedule_i(progress)                   when the final answer is right
    factor_i = schedule_i(progress) · when_wrong_i    when it is not

Scores are in [0, 1]; progress is the share of the stage that is done. A term depends on the structured trajectory, the
problem and the teacher's demonstrations, never on a prompt's text.

The module has the equation as data (`RewardSpec`), its terms and gates (`Term`, `Gate`, `WeightedTerm`), and the
reward itself (`Reward`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mentor_kit.core.component import ComponentSpec, Fills, Number
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory


class Schedule(OptionModel, FrozenModel):
    """A factor on a term's weight that changes over a stage, from `start` to `end`."""

    start: Number = Field(default=1.0, ge=0)
    """The factor until `over` begins."""
    end: Number = Field(default=1.0, ge=0)
    """The factor once `over` is past, and in evaluations."""
    over: tuple[float, float] = (0.0, 1.0)
    """Between which shares of the stage's steps the factor changes: 0 is the first step, 1 the last."""
    shape: Literal["linear", "cosine"] = "linear"
    """The curve from `start` to `end`."""

    @model_validator(mode="after")
    def _runs_forwards(self) -> Self:
        if not 0.0 <= self.over[0] <= self.over[1] <= 1.0:
            raise ValueError(f"`over` is two shares of a stage, 0 <= first <= second <= 1, not {list(self.over)}")
        return self

    def factor(self, progress: float) -> float:
        """The factor at a share of a stage, from 0 (its first step) to 1 (its last)."""
        first, last = self.over
        if progress >= last:
            return self.end
        if progress <= first:
            return self.start
        way = (progress - first) / (last - first)
        if self.shape == "cosine":
            way = (1 - math.cos(math.pi * way)) / 2
        return self.start + (self.end - self.start) * way

    @property
    def largest(self) -> float:
        """The largest factor of the stage."""
        return max(self.start, self.end)


#: The schedule of a constant weight.
CONSTANT = Schedule()


class GateSpec(ComponentSpec):
    """A gate as a recipe writes it."""

    name: str = ""
    """Its name in reports; the term's if left out."""
    otherwise: Number
    """The reward of a trajectory that does not pass."""
    threshold: Number = Field(default=1.0, gt=0, le=1)
    """The score that passes; scores lie between 0 and 1, and 0 would pass everything."""


class TermSpec(ComponentSpec):
    """A weighted term as a recipe writes it."""

    name: str = ""
    """Its name in reports; the term's if left out."""
    weight: Number
    """What a score of 1 adds to the reward."""
    when_wrong: Number = 1.0
    """The factor on the term when the final answer is wrong."""
    schedule: Schedule | None = None
    """How the weight changes over a stage; constant if left out."""


class RewardSpec(OptionModel, FrozenModel):
    """A reward as data: what a preset expands to, and what a recipe may write in its place."""

    gates: tuple[Annotated[GateSpec, Fills("reward_terms")], ...] = ()
    """In order; the first that is not passed decides."""
    terms: tuple[Annotated[TermSpec, Fills("reward_terms")], ...] = ()
    """The weighted terms that are added up when every gate is passed."""


#: What a term scores: a trajectory, its problem, and the problem's demonstrations.
Case = tuple[Trajectory, Problem, Sequence[Demonstration]]


class Term(ABC):
    """Base class of reward terms: one aspect of a trajectory's quality. A term implements `score`."""

    costly: bool = False
    """Whether a score costs money or minutes, as a judge's does. A preview scores with such a term only on request."""

    @abstractmethod
    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """A number in [0, 1]. Depends on the structure of the trajectory alone, and on nothing outside."""

    def model_hosts(self) -> Sequence[object]:
        """Return what holds models in this process for scoring, as `mentor_kit.core.teacher.Teacher.model_hosts`."""
        return ()

    def prepare(self, cases: Sequence[Case]) -> None:
        """Called before `score` with all cases of a step; optional, for terms that ask a server about many at once.

        What `score` returns must be the same as without this call.
        """
        return None


@dataclass(frozen=True)
class Gate:
    """A term with a threshold: a trajectory that scores below it earns `otherwise`, and nothing else counts."""

    name: str
    term: Term
    otherwise: float
    threshold: float = 1.0

    def passes(self, case: Case) -> bool:
        """Whether the trajectory's score reaches the threshold."""
        return _score(self.name, self.term, case) >= self.threshold


@dataclass(frozen=True)
class WeightedTerm:
    """A term with its weight, the factor on it when the final answer is wrong, and how it changes over a stage."""

    name: str
    term: Term
    weight: float
    when_wrong: float = 1.0
    schedule: Schedule = CONSTANT

    def scored(self, case: Case, progress: float) -> TermScore:
        """The term's score and its value in the reward."""
        score = _score(self.name, self.term, case)
        factor = self.schedule.factor(progress) * (1.0 if case[0].correct else self.when_wrong)
        return TermScore(score=score, value=self.weight * factor * score)

    @property
    def largest(self) -> float:
        """The largest value that the term has in a right answer's reward."""
        return max(self.weight, 0.0) * self.schedule.largest


class TermScore(FrozenModel):
    """A term's score, in [0, 1], and its value in a reward: weight · factor · score."""

    score: float
    value: float


class Breakdown(FrozenModel):
    """A reward with its reasons."""

    total: float
    gate: str = ""
    """The name of the gate that decided; empty when all were passed."""
    terms: dict[str, TermScore] = {}


@dataclass(frozen=True)
class Reward:
    """The reward as a function of a trajectory: gates and terms, in order (the module's equation)."""

    gates: tuple[Gate, ...] = ()
    terms: tuple[WeightedTerm, ...] = ()

    def __call__(
        self,
        trajectory: Trajectory,
        problem: Problem,
        demonstrations: Sequence[Demonstration],
        *,
        progress: float = 1.0,
    ) -> Breakdown:
        """The reward of a trajectory.

        Args:
            trajectory: what the student did.
            problem: the problem it is about.
            demonstrations: the teacher's for that problem.
            progress: the share of the stage that is done, from 0 (its first step) to 1 (its last, and evaluations).

        Raises:
            PluginError: a term returned something that is not a number in [0, 1].
        """
        case = (trajectory, problem, demonstrations)
        for gate in self.gates:
            if not gate.passes(case):
                return Breakdown(total=gate.otherwise, gate=gate.name)
        terms = {item.name: item.scored(case, progress) for item in self.terms}
        return Breakdown(total=math.fsum(term.value for term in terms.values()), terms=terms)

    def prepare(self, cases: Sequence[Case]) -> None:
        """Prepare every term for the cases that it will score: those that pass the gates before it."""
        waiting = list(cases)
        for gate in self.gates:
            _prepare(gate.term, waiting)
            waiting = [case for case in waiting if gate.passes(case)]
        for item in self.terms:
            _prepare(item.term, waiting)

    @property
    def costly(self) -> bool:
        """Whether scoring costs money or minutes: a gate or a term does."""
        terms = [*(gate.term for gate in self.gates), *(item.term for item in self.terms)]
        return any(term.costly for term in terms)

    @property
    def maximum(self) -> float:
        """The most a trajectory can earn: all gates passed, all terms 1, the answer right, schedules at their top."""
        return math.fsum(item.largest for item in self.terms)


class Scored(FrozenModel):
    """A trajectory with its reward; one line of a run's rollouts file."""

    trajectory: Trajectory
    reward: Breakdown
    advantage: float | None = None
    """The advantage of the whole rollout over the others of its group, as the estimator gave it for the update; a
    teacher to distil from adds its own, token by token. None in evaluations, for rollouts that dynamic sampling
    replaced, where nothing is learned from the reward, and in runs of older versions."""


def _prepare(term: Term, cases: Sequence[Case]) -> None:
    if cases:
        term.prepare(cases)


def _score(name: str, term: Term, case: Case) -> float:
    score = term.score(*case)
    if not isinstance(score, (int, float)) or not 0.0 <= score <= 1.0:
        raise PluginError(
            f"reward term {name!r} returned {score!r} for problem {case[1].id!r}; a score is a number from 0 to 1",
            hint="scale it in the term, and put weights in the recipe",
        )
    return float(score)
