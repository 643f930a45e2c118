"""The words of a dialogue: messages, tool calls and tool results.

A tool call lives through states, and the state is data that everything later reads:

    text ──parse──> MALFORMED ──check──> UNKNOWN_TOOL  (if a name could be read and no tool has it)
                └─> PARSED ──check──> UNKNOWN_TOOL
                                  ├─> BAD_ARGUMENTS
                                  └─> VALID ──run──> FAILED
                                                 └─> EXECUTED

Rewards and evaluations never look at a message's text for calls: only at these states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Literal

from mentor_kit.core.frozen_model import FrozenModel, Json

Role = Literal["system", "user", "assistant", "tool"]


class CallState(StrEnum):
    """How far a tool call came; see the module's drawing."""

    MALFORMED = "malformed"
    PARSED = "parsed"
    UNKNOWN_TOOL = "unknown_tool"
    BAD_ARGUMENTS = "bad_arguments"
    VALID = "valid"
    FAILED = "failed"
    EXECUTED = "executed"


class ToolCall(FrozenModel):
    """One call that an assistant made, or tried to make."""

    name: str = ""
    """The tool's name as written; empty when the call is malformed and no name could be read."""
    arguments: dict[str, Json] = {}
    """The arguments by name; empty when they could not be read."""
    state: CallState = CallState.PARSED
    raw: str = ""
    """The text the call was parsed from; empty for calls that never were text."""
    error: str = ""
    """Why the call is malformed, unknown, bad or failed: one line, readable by the model too."""

    def at(self, state: CallState, error: str = "") -> ToolCall:
        """The same call in another state."""
        return self.model_copy(update={"state": state, "error": error})


class ToolResult(FrozenModel):
    """What the dialogue says after a call: the tool's value, or the reason there is none."""

    name: str
    content: str
    ok: bool = True
    truncated: bool = False
    """True when `content` was cut to the limit of result tokens; the cut is visible in `content`."""


class Message(FrozenModel):
    """One message of a dialogue.

    `content` never holds reasoning or tool calls: the chat layer's parser has moved those into their own
    fields. A message of role `tool` carries one `result`.
    """

    role: Role
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    result: ToolResult | None = None


def system(content: str) -> Message:
    """A system message."""
    return Message(role="system", content=content)


def user(content: str) -> Message:
    """A user message."""
    return Message(role="user", content=content)


def assistant(content: str = "", *, reasoning: str = "", calls: Sequence[ToolCall] = ()) -> Message:
    """An assistant message, with the tool calls it makes."""
    return Message(role="assistant", content=content, reasoning=reasoning, tool_calls=tuple(calls))


def tool_result(result: ToolResult) -> Message:
    """The message that brings a tool's result back to the assistant."""
    return Message(role="tool", content=result.content, result=result)


def call(name: str, /, **arguments: Any) -> ToolCall:
    """A call as a script or a test writes it.

    Example:
        >>> call("add", a=1, b=2).arguments
        {'a': 1, 'b': 2}
    """
    return ToolCall(name=name, arguments=arguments)


def calls_of(messages: Sequence[Message]) -> Iterator[ToolCall]:
    """All calls in the assistant's own messages, in order."""
    for message in messages:
        if message.role == "assistant":
            yield from message.tool_calls
