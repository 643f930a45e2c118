"""Terms about the shape of a trajectory: number of calls, form of turns, length.

They pay for form, not for a right answer: give them small weights, and `when_wrong` below 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.chat.families import all_marks
from mentor_kit.core.component import Number, Whole
from mentor_kit.core.conversation import CallState, Message
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks import Registry
from mentor_kit.rl.reward import Term
from mentor_kit_rewards.comparison import reference_demonstrations

#: Characters a token, for agents without tokens.
_CHARACTERS_PER_TOKEN = 4


class CallEconomyOptions(OptionModel):
    """Options of the term for few calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    times: Number = Field(default=1.0, gt=0)
    """The factor on the demonstration's calls up to which the score is 1."""
    plus: Whole = Field(default=0, ge=0)
    """Calls allowed beside these."""


class CallEconomy(Term):
    """1 for no more calls than the teacher made, else what the teacher needed as a share of them.

    min(1, (times · teacher's calls + plus) / calls), for the best of several demonstrations. Every call counts that
    was made or tried. A student that executed none of the teacher's tools, where there are any, is not economical: 0.
    """

    def __init__(self, options: CallEconomyOptions) -> None:
        self.options = options

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """The best economy beside a demonstration.

        Raises:
            DataError: there is no demonstration of the problem.
        """
        return max(self._against(trajectory, shown) for shown in reference_demonstrations(problem, demonstrations))

    def _against(self, trajectory: Trajectory, demonstration: Demonstration) -> float:
        made = len(trajectory.calls)
        if demonstration.tools_used and set(trajectory.tools_used).isdisjoint(demonstration.tools_used):
            return 0.0
        allowed = self.options.times * len(demonstration.tools_used) + self.options.plus
        return 1.0 if made <= allowed else allowed / made


class FormatOptions(OptionModel):
    """Options of the term `format`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reasoning: Literal["any", "required", "forbidden"] = "any"
    """Whether each turn has reasoning."""
    words_with_calls: bool = True
    """Whether a turn with calls may have content."""
    calls_per_turn: Whole | None = Field(default=None, gt=0)
    """The largest number of calls a turn; null for any number."""
    answer_words: Whole | None = Field(default=None, gt=0)
    """The largest number of words in the last turn; null for any number."""
    forbidden: tuple[str, ...] | None = None
    """No turn's words or reasoning may contain these: leftover marks, and fake tool results. If left out, the
    marks of all families of models, whichever the student is of (`mentor_kit.chat.forms`)."""


class Format(Term):
    """1 if there are turns of the assistant's and every one is orderly, else 0; a malformed call is not."""

    def __init__(self, options: FormatOptions, registry: Registry | None = None) -> None:
        self.options = options
        self._forbidden = all_marks(registry) if options.forbidden is None else options.forbidden

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        limit = self.options.answer_words
        brief = limit is None or len(trajectory.final_text.split()) <= limit
        turns = trajectory.turns
        return float(brief and bool(turns) and all(self._is_orderly(turn) for turn in turns))

    def _is_orderly(self, turn: Message) -> bool:
        options = self.options
        if any(call.state is CallState.MALFORMED for call in turn.tool_calls):
            return False
        if options.reasoning != "any" and bool(turn.reasoning) != (options.reasoning == "required"):
            return False
        if turn.tool_calls and turn.content and not options.words_with_calls:
            return False
        if options.calls_per_turn is not None and len(turn.tool_calls) > options.calls_per_turn:
            return False
        return not any(mark in text for mark in self._forbidden for text in (turn.content, turn.reasoning))


class LengthOptions(OptionModel):
    """Options of the term `length`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    free: Whole = Field(ge=0)
    """Tokens of the assistant's up to which the score is 1."""
    limit: Whole = Field(gt=0)
    """Tokens from which the score is 0."""

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.free >= self.limit:
            raise ValueError(f"`free` ({self.free}) must be less than `limit` ({self.limit})")
        return self


class Length(Term):
    """1 up to `free` tokens, falling evenly to 0 at `limit` (the soft overlong punishment of arXiv 2503.14476).

    Counted are the tokens that the assistant sampled in all its turns; for agents without tokens, four characters are
    one.
    """

    def __init__(self, options: LengthOptions) -> None:
        self.options = options

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        free, limit = self.options.free, self.options.limit
        return min(1.0, max(0.0, (limit - _tokens(trajectory)) / (limit - free)))


def _tokens(trajectory: Trajectory) -> float:
    if trajectory.tokens is not None:
        return trajectory.tokens.sampled
    return sum(_characters(turn) for turn in trajectory.turns) / _CHARACTERS_PER_TOKEN


def _characters(turn: Message) -> int:
    calls = sum(len(call.raw) or len(call.name) + len(json.dumps(call.arguments)) for call in turn.tool_calls)
    return len(turn.content) + len(turn.reasoning) + calls
