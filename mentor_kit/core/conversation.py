"""Messages, tool calls and tool results of a dialogue.

A tool call passes through these states; rewards, metrics and reports read the last one:

    string ──parse──> MALFORMED ──check──> UNKNOWN_TOOL  (if a name could be read and no tool has it)
                  └─> PARSED ──check──> UNKNOWN_TOOL
                                    ├─> INVALID_ARGUMENTS
                                    └─> VALID ──run──> FAILED
                                                   └─> EXECUTED

Rewards and evaluations read these states only, never the message's content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, Literal

from mentor_kit.core.frozen_model import FrozenModel, Json

Role = Literal["system", "user", "assistant", "tool"]


class CallState(StrEnum):
    """The state of a tool call; see the module's diagram."""

    MALFORMED = "malformed"
    PARSED = "parsed"
    UNKNOWN_TOOL = "unknown_tool"
    INVALID_ARGUMENTS = "invalid_arguments"
    VALID = "valid"
    FAILED = "failed"
    EXECUTED = "executed"


class ToolCall(FrozenModel):
    """A tool call that an assistant made or attempted."""

    name: str = ""
    """The tool's name as written; empty when the call is malformed and no name could be read."""
    arguments: dict[str, Json] = {}
    """The arguments by name; empty when they could not be read."""
    state: CallState = CallState.PARSED
    raw: str = ""
    """The string the call was parsed from; empty for calls that were not parsed."""
    error: str = ""
    """Why the call is malformed, unknown, invalid or failed: one line, which is also shown to the model."""

    def at(self, state: CallState, error: str = "") -> ToolCall:
        """Return a copy of the call in another state."""
        return self.model_copy(update={"state": state, "error": error})


class ToolResult(FrozenModel):
    """The result of a tool call: the tool's value, or the error message."""

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
    """Return a system message."""
    return Message(role="system", content=content)


def user(content: str) -> Message:
    """Return a user message."""
    return Message(role="user", content=content)


def assistant(content: str = "", *, reasoning: str = "", calls: Sequence[ToolCall] = ()) -> Message:
    """Return an assistant message with its tool calls."""
    return Message(role="assistant", content=content, reasoning=reasoning, tool_calls=tuple(calls))


def tool_result(result: ToolResult) -> Message:
    """Return the message that carries a tool's result."""
    return Message(role="tool", content=result.content, result=result)


def call(name: str, /, **arguments: Any) -> ToolCall:
    """Return a call in state PARSED, for scripts and tests.

    Example:
        >>> call("add", a=1, b=2).arguments
        {'a': 1, 'b': 2}
    """
    return ToolCall(name=name, arguments=arguments)


def calls_of(messages: Sequence[Message]) -> Iterator[ToolCall]:
    """Yield all calls in the assistant's messages, in order."""
    for message in messages:
        if message.role == "assistant":
            yield from message.tool_calls
