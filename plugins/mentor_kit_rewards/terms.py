"""Terms about one trajectory: how it ended, its answer, and the states of its calls.

All terms of this plugin look at the structure of a trajectory: never at a prompt, nor for calls or answers in
the content of a turn. Only executed calls count as tool use; a string that resembles a call, a call in the reasoning,
one with wrong arguments and one that failed count for nothing. docs/rewards.md has every term with its formula.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict

from mentor_kit.core.conversation import CallState, ToolCall
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Term

#: States of calls that failed by the assistant's fault.
BROKEN = frozenset({CallState.MALFORMED, CallState.UNKNOWN_TOOL, CallState.INVALID_ARGUMENTS, CallState.FAILED})


class Ended(Term):
    """1 if the assistant ended the episode: running out of turns, tokens or context does not count."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(trajectory.ended)


class Answered(Term):
    """1 if the trajectory has one answer, and it is not empty; several different ones count as none."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(trajectory.answer is not None and bool(trajectory.answer.strip()))


class Correct(Term):
    """1 if the task found the final answer right."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(trajectory.correct)


class KnownTools(Term):
    """1 if every call names a tool there is; no calls at all is 1.

    A malformed call with a tool's name changes nothing. One whose name cannot be read (none, an empty one, one that is
    too long or no name at all) names no tool there is, whatever the family's parser made of it.
    """

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(all(_names_a_tool(call) for call in trajectory.calls))


def _names_a_tool(call: ToolCall) -> bool:
    if call.state is CallState.UNKNOWN_TOOL:
        return False
    # where no string is known, its name is not either
    return bool(call.name.strip()) or call.state is not CallState.MALFORMED or not call.raw


class CleanCallsOptions(OptionModel):
    """Options of the term `clean-calls`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: bool = False
    """Score 1 / (1 + broken calls), where one broken call otherwise makes the score 0."""


class CleanCalls(Term):
    """1 if no call is malformed, names an unknown tool, has wrong arguments or failed; no calls at all is 1.

    The number of valid calls does not matter, so none of them compensates for a broken one.
    """

    def __init__(self, options: CleanCallsOptions) -> None:
        self.options = options

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        broken = sum(call.state in BROKEN for call in trajectory.calls)
        return 1 / (1 + broken) if self.options.share else float(not broken)
