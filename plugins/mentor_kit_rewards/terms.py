"""Terms about one trajectory alone: how it ended, its answer, and the states of its calls.

All terms of this plugin look at the structure of a trajectory: never at a prompt's text, nor for calls or answers in
the text of a turn. Only executed calls count as tool use; text that looks like a call, a call in the reasoning, one
with wrong arguments and one that failed count for nothing. docs/rewards.md has every term with its formula.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from mentor_kit.conversation import CallState
from mentor_kit.demonstration import Demonstration
from mentor_kit.task import Problem
from mentor_kit.trajectory import Trajectory

#: States of calls that came to nothing by the assistant's own doing.
BROKEN = frozenset({CallState.MALFORMED, CallState.UNKNOWN_TOOL, CallState.BAD_ARGUMENTS, CallState.FAILED})


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


class CleanCallsOptions(BaseModel):
    """How broken calls are counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: bool = False
    """Score the share of calls that are not broken, where one broken call otherwise makes the score 0."""


class CleanCalls:
    """1 if no call is malformed, names an unknown tool, has wrong arguments or failed; no calls at all is 1."""

    def __init__(self, options: CleanCallsOptions) -> None:
        self.options = options

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        calls = trajectory.calls
        clean = sum(call.state not in BROKEN for call in calls)
        if self.options.share:
            return clean / len(calls) if calls else 1.0
        return float(clean == len(calls))
