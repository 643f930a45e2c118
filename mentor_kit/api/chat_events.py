"""What happens in a chat, event by event: for displays, and as lines of JSON for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from pydantic import Field

from mentor_kit.core.conversation import Message, ToolCall, ToolResult
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.rl.reward import Breakdown


class ChatEvent(FrozenModel):
    """Base class of a chat's events; `kind` says which."""

    def line(self) -> str:
        """One line of JSON, defaults included."""
        return self.model_dump_json()


class Opened(ChatEvent):
    """The chat can begin."""

    kind: Literal["opened"] = "opened"
    agents: tuple[str, ...]
    """The names of those who answer, in the order in which they do."""
    descriptions: tuple[str, ...]
    """A line about each of them."""
    tools: tuple[str, ...]
    """The names of the tools."""
    temperature: float | None
    """None where no student is sampled."""


class Words(ChatEvent):
    """A piece of an agent's turn, as it is generated."""

    kind: Literal["words"] = "words"
    agent: str
    text: str
    reasoning: bool = False
    """Whether it is reasoning; otherwise it is for the user."""


class CallStarted(ChatEvent):
    """An agent's call is about to be checked and run."""

    kind: Literal["call"] = "call"
    agent: str
    call: ToolCall


class CallEnded(ChatEvent):
    """A call in its final state, with its result."""

    kind: Literal["result"] = "result"
    agent: str
    """Empty for a call that was made by hand."""
    call: ToolCall
    result: ToolResult


class AnswerEnded(ChatEvent):
    """An agent's answer is over."""

    kind: Literal["answer"] = "answer"
    agent: str
    message: Message | None
    """The last turn; None where there is none."""
    ending: str
    """As `Ending`; `stopped` where the user stopped it."""
    reason: str = ""
    """Why it ended early, in one line."""
    tokens: int | None = None
    """The dialogue's length in tokens; None where it has none."""
    context: int | None = None
    """The most tokens that the model takes."""


class ProblemOpened(ChatEvent):
    """A problem of the task is about to be solved."""

    kind: Literal["problem"] = "problem"
    id: str
    split: str
    messages: tuple[Message, ...]
    """Its system message, history and question."""


class Demonstrated(ChatEvent):
    """The teacher's demonstration of a problem."""

    kind: Literal["demonstration"] = "demonstration"
    demonstration: Demonstration | None
    """None where there is none."""


class Judged(ChatEvent):
    """The verdict on an agent's episode."""

    kind: Literal["score"] = "score"
    agent: str
    problem: str
    """The problem's id."""
    ending: str
    """As `Ending`."""
    reason: str = ""
    """Why it ended early, in one line."""
    answer: str | None
    key: str
    """The right answer."""
    correct: bool
    tools_used: tuple[str, ...]
    """The names of the executed calls, in order."""
    reward: Breakdown | None = None
    """None where the recipe has no reward, or it does not apply: the teacher has not solved the problem."""


class SampledToken(FrozenModel):
    """One token of a turn."""

    id: int
    text: str
    log_prob: float
    """The sampler's log-probability at the dialogue's temperature."""


class Tokens(ChatEvent):
    """The tokens of an agent's last turn."""

    kind: Literal["tokens"] = "tokens"
    agent: str
    tokens: tuple[SampledToken, ...]


class EpisodesSaved(ChatEvent):
    """Episodes were written to a file."""

    kind: Literal["saved"] = "saved"
    path: str
    episodes: int
    form: Literal["scored", "demonstrations"]


class Note(ChatEvent):
    """Something that is worth knowing, in one line."""

    kind: Literal["note"] = "note"
    text: str
    agent: str = ""


class Failed(ChatEvent):
    """A question or a command failed; the chat goes on."""

    kind: Literal["error"] = "error"
    error: str
    """The class of the error."""
    message: str
    hint: str | None = Field(default=None)

    @staticmethod
    def of(error: MentorKitError) -> Failed:
        """The event for an error."""
        return Failed(**error.as_data())


#: Who shows events.
Show: TypeAlias = Callable[[ChatEvent], None]
