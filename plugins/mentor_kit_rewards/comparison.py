"""Terms that compare the tools used with the teacher's: which, how often, in which order.

With A the names of the student's executed calls and B those of a demonstration, in order:

| term | agreement |
| --- | --- |
| tool-match (R2) | 1 if set(A) = set(B) |
| tool-overlap | 1 if set(A) and set(B) have a name in common |
| tool-f1 | 2 |set(A) ∩ set(B)| / (|set(A)| + |set(B)|) |
| tool-multiset-f1 | 2 Σ_name min(count in A, count in B) / (|A| + |B|) |
| tool-order | 2 LCS(A, B) / (|A| + |B|), LCS the length of the longest common subsequence |

A call that equals an earlier one, arguments included, counts among the common ones only as often as the
demonstration repeats calls of that tool. The score is the best agreement with any demonstration. (The first three:
MENTOR, arXiv 2510.18383, section 3.)
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ConfigDict, Field

from mentor_kit.core.component import Number, Whole
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Term
from mentor_kit_rewards.values import without_idle_repeats


class Excess(OptionModel):
    """The limit of executed calls: more than `times` the demonstration's, plus `plus`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    times: Number = Field(default=2.0, ge=0)
    """The factor on the number of calls that the demonstration executed."""
    plus: Whole = Field(default=2, ge=0)
    """Calls that are allowed beside those."""

    def limit(self, demonstration: Demonstration) -> float:
        """The largest number of executed calls that is not too many."""
        return self.times * len(demonstration.tools_used) + self.plus


class ToolUseOptions(OptionModel):
    """Options of the terms that compare tool use with the teacher's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    excess: Excess | None = Excess()
    """With more executed calls than this the score is 0; null for no limit."""


def reference_demonstrations(problem: Problem, demonstrations: Sequence[Demonstration]) -> Sequence[Demonstration]:
    """Return the demonstrations to compare with: right ones; wrong ones only where there are no others.

    Raises:
        DataError: there is no demonstration of the problem.
    """
    if not demonstrations:
        raise DataError(
            f"the reward compares tool use with the teacher's, and problem {problem.id!r} has no demonstration",
            hint="add a `teacher:` that solves it to the recipe, or take a reward that needs none: `sparse`",
        )
    return [demonstration for demonstration in demonstrations if demonstration.correct] or demonstrations


@dataclass(frozen=True)
class ToolUse(Term):
    """Compares the tools a trajectory used with a demonstration's; the best of several counts.

    Where the teacher used no tool, the score is 1 if the student used none either, and 0 if it did.
    """

    options: ToolUseOptions = field(default_factory=ToolUseOptions)

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """The best agreement with a demonstration.

        Raises:
            DataError: there is no demonstration of the problem.
        """
        return max(self._against(trajectory, shown) for shown in reference_demonstrations(problem, demonstrations))

    def _against(self, trajectory: Trajectory, demonstration: Demonstration) -> float:
        used, shown = trajectory.tools_used, demonstration.tools_used
        if not shown:
            return float(not used)
        excess = self.options.excess
        if excess is not None and len(used) > excess.limit(demonstration):
            return 0.0
        calls = demonstration.trajectory.executed if demonstration.trajectory is not None else None
        counted = without_idle_repeats(trajectory.executed, calls)
        return self.agreement(used, shown, [call.name for call in counted])

    @abstractmethod
    def agreement(self, used: Sequence[str], shown: Sequence[str], counted: Sequence[str]) -> float:
        """How well the names used agree with those shown, from 0 to 1.

        Args:
            used: of the student's executed calls.
            shown: of the demonstration's; never empty.
            counted: those used without idle repeats.
        """


class ToolMatch(ToolUse):
    """1 if the two sets are equal."""

    def agreement(self, used: Sequence[str], shown: Sequence[str], counted: Sequence[str]) -> float:
        return float(set(used) == set(shown))


class ToolOverlap(ToolUse):
    """1 if the two sets have a tool in common."""

    def agreement(self, used: Sequence[str], shown: Sequence[str], counted: Sequence[str]) -> float:
        return float(not set(used).isdisjoint(shown))


class ToolF1(ToolUse):
    """The harmonic mean of precision and recall of the two sets."""

    def agreement(self, used: Sequence[str], shown: Sequence[str], counted: Sequence[str]) -> float:
        left, right = set(used), set(shown)
        return 2 * len(left & right) / (len(left) + len(right))


class ToolMultisetF1(ToolUse):
    """The harmonic mean of precision and recall of the two multisets of tools."""

    def agreement(self, used: Sequence[str], shown: Sequence[str], counted: Sequence[str]) -> float:
        return 2 * _common(counted, shown) / (len(used) + len(shown))


class ToolOrder(ToolUse):
    """The longest common subsequence, as a share of both sequences' mean length."""

    def agreement(self, used: Sequence[str], shown: Sequence[str], counted: Sequence[str]) -> float:
        common = min(longest_common(used, shown), _common(counted, shown))
        return 2 * common / (len(used) + len(shown))


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    return (Counter(left) & Counter(right)).total()


def longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common subsequence of two sequences; O(len(left) · len(right))."""
    row = [0] * (len(right) + 1)
    for item in left:
        diagonal = 0
        for index, other in enumerate(right, start=1):
            above = row[index]
            row[index] = diagonal + 1 if item == other else max(above, row[index - 1])
            diagonal = above
    return row[-1]
