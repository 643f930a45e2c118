"""The reward: gates first, then a weighted sum of terms (MENTOR, arXiv 2510.18383, section 3).

    R(τ) = otherwise_g                          for the first gate g with score_g(τ) < threshold_g
    R(τ) = Σ_i weight_i · factor_i · score_i(τ)  when every gate is passed
           with factor_i = schedule_i(progress) if the answer is right, when_wrong_i times that if not,
           and score_i in [0, 1]

A term sees a structured trajectory, the problem and the teacher's demonstrations; never a prompt's text.
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
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory


class GateSpec(ComponentSpec):
    """A gate as a recipe writes it."""

    name: str = ""
    """How reports call it; the term's name if left out."""
    otherwise: Number
    """What a trajectory earns that does not pass."""
    threshold: Number = Field(default=1.0, gt=0, le=1)
    """The score that passes; scores lie between 0 and 1, and 0 would pass everything."""


class Schedule(FrozenModel):
    """How a term's weight changes over a stage: a factor on it that runs from `start` to `end`."""

    start: Number = Field(default=1.0, ge=0)
    """The factor until `over` begins."""
    end: Number = Field(default=1.0, ge=0)
    """The factor once `over` is past; evaluations use it, too."""
    over: tuple[float, float] = (0.0, 1.0)
    """Between which shares of the stage's steps the factor changes: 0 is the first step, 1 the last."""
    shape: Literal["linear", "cosine"] = "linear"
    """How it gets from one to the other."""

    @model_validator(mode="after")
    def _runs_forwards(self) -> Self:
        if not 0.0 <= self.over[0] <= self.over[1] <= 1.0:
            raise ValueError(f"`over` is two shares of a stage, 0 <= first <= second <= 1, not {list(self.over)}")
        return self

    def factor(self, progress: float) -> float:
        """The factor after this share of a stage, from 0 (its first step) to 1 (its last)."""
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
        """The largest factor there is."""
        return max(self.start, self.end)


#: The schedule of a weight that stays as it is.
CONSTANT = Schedule()


class TermSpec(ComponentSpec):
    """A weighted term as a recipe writes it."""

    name: str = ""
    """How reports call it; the term's name if left out."""
    weight: Number
    when_wrong: Number = 1.0
    """The factor on the term when the final answer is wrong."""
    schedule: Schedule | None = None
    """How the weight changes over a stage; it stays if left out."""


class RewardSpec(FrozenModel):
    """A reward as data: what a preset expands to, and what a recipe may write in its place."""

    gates: tuple[Annotated[GateSpec, Fills("reward_terms")], ...] = ()
    """In order; the first that is not passed decides."""
    terms: tuple[Annotated[TermSpec, Fills("reward_terms")], ...] = ()


#: What a term scores: a trajectory, its problem, and the problem's demonstrations.
Case = tuple[Trajectory, Problem, Sequence[Demonstration]]


class Term(ABC):
    """Base class of reward terms: one aspect of a trajectory's quality. A term implements `score`."""

    @abstractmethod
    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """A number in [0, 1]. Depends on the structure of the trajectory alone, and on nothing outside."""

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

    def passes(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> bool:
        """Whether the trajectory's score reaches the threshold."""
        return _score(self.name, self.term, trajectory, problem, demonstrations) >= self.threshold


@dataclass(frozen=True)
class WeightedTerm:
    """A term with its weight, the factor on it when the final answer is wrong, and how it changes over a stage."""

    name: str
    term: Term
    weight: float
    when_wrong: float = 1.0
    schedule: Schedule = CONSTANT


class TermScore(FrozenModel):
    """A term's part in a reward: `value` = weight · factor · `score`."""

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
    """Gates and terms, in order; see the module's equation."""

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
            PluginError: a term gave something that is not a number in [0, 1].
        """
        for gate in self.gates:
            if not gate.passes(trajectory, problem, demonstrations):
                return Breakdown(total=gate.otherwise, gate=gate.name)
        terms = {}
        for item in self.terms:
            score = _score(item.name, item.term, trajectory, problem, demonstrations)
            factor = item.schedule.factor(progress) * (1.0 if trajectory.correct else item.when_wrong)
            terms[item.name] = TermScore(score=score, value=item.weight * factor * score)
        return Breakdown(total=math.fsum(term.value for term in terms.values()), terms=terms)

    def prepare(self, cases: Sequence[Case]) -> None:
        """Tell the terms that want to know which trajectories will be scored: those that pass the gates before them."""
        waiting = list(cases)
        for gate in self.gates:
            _prepare(gate.term, waiting)
            waiting = [case for case in waiting if gate.passes(*case)]
        for item in self.terms:
            _prepare(item.term, waiting)

    @property
    def maximum(self) -> float:
        """The most a trajectory can earn: all gates passed, all terms 1, the answer right, schedules at their top."""
        return math.fsum(max(item.weight, 0.0) * item.schedule.largest for item in self.terms)


class Scored(FrozenModel):
    """A trajectory with its reward; one line of a run's rollouts file."""

    trajectory: Trajectory
    reward: Breakdown


def _prepare(term: Term, cases: Sequence[Case]) -> None:
    if cases:
        term.prepare(cases)


def _score(
    name: str, term: Term, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]
) -> float:
    score = term.score(trajectory, problem, demonstrations)
    if not isinstance(score, (int, float)) or not 0.0 <= score <= 1.0:
        raise PluginError(
            f"reward term {name!r} gave {score!r} for problem {problem.id!r}; a score is a number from 0 to 1",
            hint="scale it in the term, and put weights in the recipe",
        )
    return float(score)
