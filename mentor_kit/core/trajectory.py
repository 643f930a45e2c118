"""Trajectories: finished dialogues about problems, with their tokens where a policy sampled them."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from mentor_kit.core.conversation import CallState, Message, ToolCall, calls_of
from mentor_kit.core.frozen_model import FrozenModel


class Ending(StrEnum):
    """How an episode ended. Only ANSWERED counts as ended in the reward's sense."""

    ANSWERED = "answered"
    """The assistant ended a turn without tool calls (or with calls that are the answer), and the user had no
    further message."""
    MAX_TURNS = "max_turns"
    """The last turn that was allowed still made tool calls."""
    LENGTH = "length"
    """A turn, or the response as a whole, used up its tokens before the turn was finished."""
    CONTEXT_FULL = "context_full"
    """The next message did not fit into the model's context."""
    REFUSED = "refused"
    """The server behind the agent rejected this dialogue."""


class SampledTurn(FrozenModel):
    """A turn that a policy sampled: where it stands in a trace's `ids`, and which weights sampled it."""

    start: int = Field(ge=0)
    """Its first token."""
    end: int = Field(ge=0)
    """Behind its last token."""
    version: int
    """How many optimizer steps the weights had taken."""


class TokenTrace(FrozenModel):
    """The tokens of a policy's episode, exactly as they were sampled or inserted.

    `ids` is everything after the prompt: the assistant's sampled tokens (mask 1) and, between them, the
    tool results and the template's own text (mask 0). Nothing here was ever re-tokenised.
    """

    prompt_ids: tuple[int, ...]
    """The first prompt: system message, tool schemas, question and the opening of the assistant's turn."""
    ids: tuple[int, ...]
    mask: tuple[int, ...]
    """1 where the token was sampled by the policy and is trained on, else 0; as long as `ids`."""
    log_probs: tuple[float, ...]
    """The sampler's log-probabilities at `temperature`, full distribution; 0.0 where the mask is 0."""
    temperature: float
    turns: tuple[SampledTurn, ...] = ()
    """The policy's turns, in order; none where the policy sampled none, as in demonstrations."""

    @model_validator(mode="after")
    def _same_lengths(self) -> Self:
        if not len(self.ids) == len(self.mask) == len(self.log_probs):
            raise ValueError(f"{len(self.ids)} ids, {len(self.mask)} mask, {len(self.log_probs)} log_probs")
        return self

    @property
    def sampled(self) -> int:
        """How many tokens the policy sampled."""
        return sum(self.mask)


class Trajectory(FrozenModel):
    """The record of one episode.

    `messages` is the whole dialogue; its tool calls carry their final states. The first `opening` of them are the
    problem's (`Problem.opening`): the assistant's turns and calls in them are not the
    agent's. The episode is what follows, and all properties below refer to it alone.
    `answer` and `correct` are the task's verdict: `correct` is False whenever the episode did not end, unless the
    task takes calls for its answer (`Task.calls_are_answers`).
    """

    id: str
    problem_id: str
    agent: str
    messages: tuple[Message, ...]
    opening: int = Field(default=0, ge=0)
    """How many of the messages the problem opened with: its system message, history and question. 0 in dialogues from
    elsewhere, whose assistant's turns are all of the episode (`Demonstration.about` finds the place)."""
    ending: Ending
    reason: str = ""
    """Why the episode ended early, in one line; empty where unknown."""
    answer: str | None = None
    correct: bool = False
    tokens: TokenTrace | None = None

    @model_validator(mode="after")
    def _opens_with_messages(self) -> Self:
        if self.opening > len(self.messages):
            raise ValueError(f"opening is {self.opening}, of {len(self.messages)} messages")
        return self

    @property
    def episode(self) -> tuple[Message, ...]:
        """The messages after the opening ones."""
        return self.messages[self.opening :]

    @property
    def ended(self) -> bool:
        """Whether the episode ended with an answer."""
        return self.ending is Ending.ANSWERED

    @property
    def turns(self) -> tuple[Message, ...]:
        """The assistant's messages."""
        return tuple(message for message in self.episode if message.role == "assistant")

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Every call the assistant made or tried to make, in order."""
        return tuple(calls_of(self.episode))

    @property
    def executed(self) -> tuple[ToolCall, ...]:
        """The calls that were parsed, valid and executed, in order: the only ones a reward may pay for.

        Where an episode ended with a turn of calls, which are its answer (`Task.calls_are_answers`) and are not run,
        the valid ones of that turn are among them.
        """
        last = self.episode[-1:] if self.ended else ()
        answers = tuple(call for call in calls_of(last) if call.state is CallState.VALID)
        return (*(call for call in self.calls if call.state is CallState.EXECUTED), *answers)

    @property
    def tools_used(self) -> tuple[str, ...]:
        """The names of the executed calls, in order, with repetitions."""
        return tuple(call.name for call in self.executed)

    @property
    def final_text(self) -> str:
        """The content of the last message if it is the assistant's, without reasoning and calls; else empty."""
        last = self.episode[-1] if self.episode else None
        return last.content if last is not None and last.role == "assistant" else ""
