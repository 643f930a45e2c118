"""The terms of MENTOR's reward (arXiv 2510.18383, section 3): what each sees, and what it pays.

All of them look at the structure of a trajectory alone: how it ended, its answer, and the states of its calls.
Only executed calls count as tool use; text that looks like a call, a call in the reasoning, one with wrong
arguments and one that failed count for nothing.

| term | score |
| --- | --- |
| ended | 1 if the assistant finished by itself |
| answered | 1 if there is one answer, and it is not empty |
| correct (R1) | 1 if the final answer is right |
| tool-match (R2) | 1 if the set of tools used is the demonstration's |
| tool-overlap | 1 if the two sets overlap |
| tool-f1 | F1 of the two sets |
| known-tools (R3) | 1 if no call names a tool that does not exist |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from mentor_kit.conversation import CallState
from mentor_kit.demonstration import Demonstration
from mentor_kit.errors import DataError
from mentor_kit.task import Problem
from mentor_kit.trajectory import Trajectory


class Excess(BaseModel):
    """How many executed calls are too many: more than `times` the demonstration's, plus `plus`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    times: float = Field(default=2.0, ge=0)
    plus: int = Field(default=2, ge=0)

    def limit(self, demonstration: Demonstration) -> float:
        """The largest number of executed calls that is not too many."""
        return self.times * len(demonstration.tools_used) + self.plus


class ToolUseOptions(BaseModel):
    """Options of the terms that compare tool use with the teacher's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    excess: Excess | None = Excess()
    """With more executed calls than this the score is 0; null for no limit."""


class Ended:
    """1 if the assistant finished by itself: running out of turns, tokens or context is not ending."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(trajectory.ended)


class Answered:
    """1 if the trajectory gives one answer, and it is not empty; several different ones are none."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(trajectory.answer is not None and bool(trajectory.answer.strip()))


class Correct:
    """1 if the task found the final answer right."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(trajectory.correct)


class KnownTools:
    """1 unless a call names a tool that does not exist; no calls at all is 1.

    A malformed call changes nothing, unless its name could be read and is unknown: then the rollout has
    marked it as a call of an unknown tool.
    """

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(all(call.state is not CallState.UNKNOWN_TOOL for call in trajectory.calls))


@dataclass(frozen=True)
class ToolUse(ABC):
    """Compares the set of tools a trajectory used with a demonstration's; the best of several counts.

    Where the teacher used no tool, the score is 1 if the student used none either, and 0 if it did. Right
    demonstrations are the measure; wrong ones only where there are no others.
    """

    options: ToolUseOptions = field(default_factory=ToolUseOptions)

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """The best agreement with a demonstration.

        Raises:
            DataError: there is no demonstration of the problem.
        """
        if not demonstrations:
            raise DataError(
                f"the reward compares tool use with the teacher's, and problem {problem.id!r} has no demonstration",
                hint="add a `teacher:` that solves it to the recipe, or take a reward that needs none: `sparse`",
            )
        right = [demonstration for demonstration in demonstrations if demonstration.correct]
        return max(self._against(trajectory, demonstration) for demonstration in right or demonstrations)

    def _against(self, trajectory: Trajectory, demonstration: Demonstration) -> float:
        used, shown = trajectory.tools_used, demonstration.tools_used
        if not shown:
            return float(not used)
        excess = self.options.excess
        if excess is not None and len(used) > excess.limit(demonstration):
            return 0.0
        return self.agreement(frozenset(used), frozenset(shown))

    @abstractmethod
    def agreement(self, used: AbstractSet[str], shown: AbstractSet[str]) -> float:
        """How well the tools used agree with those shown, from 0 to 1; `shown` is never empty."""


class ToolMatch(ToolUse):
    """1 if the two sets are equal."""

    def agreement(self, used: AbstractSet[str], shown: AbstractSet[str]) -> float:
        return float(used == shown)


class ToolOverlap(ToolUse):
    """1 if the two sets have a tool in common."""

    def agreement(self, used: AbstractSet[str], shown: AbstractSet[str]) -> float:
        return float(not used.isdisjoint(shown))


class ToolF1(ToolUse):
    """The harmonic mean of precision and recall: 2 |A ∩ B| / (|A| + |B|)."""

    def agreement(self, used: AbstractSet[str], shown: AbstractSet[str]) -> float:
        return 2 * len(used & shown) / (len(used) + len(shown))
