"""The format `weather`: a chat's lines, each a mapping whose first key says what it is.

chat       [{"user": …} | {"assistant": …} | {"call": name, "arguments": {…}} | {"result": …}]
functions  [{"name": …, "description": …, "parameters": JSON schema}]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.core.conversation import Message, ToolCall, ToolResult, assistant, tool_result, user
from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue
from mentor_kit.core.task import DeclaredTool
from pydantic import ValidationError

FUNCTION = {"name", "description", "parameters"}


class WeatherFormat(DataFormat):
    """Rows of a chat with one call a turn; `mentorkit data convert` writes them, too."""

    limits = ("system messages", "reasoning", "words beside a call", "several calls in a turn")

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        """Return whether the row has a chat: another format's column of that name has no such lines."""
        chat = row.get("chat")
        return isinstance(chat, list) and bool(chat) and isinstance(chat[0], dict) and "user" in chat[0]

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        """Return the chat as messages; a result is that of the call before it."""
        messages: list[Message] = []
        for index, line in enumerate(_entries(row, "chat")):
            messages.append(_message(line, messages, f"chat.{index}"))
        return Dialogue(messages=tuple(messages), tools=tuple(map(_tool, _entries(row, "functions"))))

    def write(self, dialogue: Dialogue) -> dict[str, Any]:
        """Return the row; what it cannot express is refused rather than left out."""
        chat = [_line(message, f"messages.{index}") for index, message in enumerate(dialogue.messages)]
        return {"chat": chat, "functions": [tool.model_dump(include=FUNCTION) for tool in dialogue.tools]}


def _entries(row: Mapping[str, Any], column: str) -> list[Any]:
    found = row.get(column)
    if not isinstance(found, list | None):
        raise DataFormatError(column, f"expected a list, found {type(found).__name__}")
    return found or []


def _tool(function: Any) -> DeclaredTool:
    try:
        return DeclaredTool.model_validate(function)
    except ValidationError as error:
        raise DataFormatError("functions", f"expected name, description and parameters: {error}") from None


def _message(line: Any, before: list[Message], column: str) -> Message:
    if not isinstance(line, dict):
        raise DataFormatError(column, f"expected a mapping, found {type(line).__name__}")
    if "user" in line:
        return user(str(line["user"]))
    if "assistant" in line:
        return assistant(str(line["assistant"]))
    if "call" in line:
        return assistant(calls=[ToolCall(name=str(line["call"]), arguments=line.get("arguments") or {})])
    if "result" in line and before and before[-1].tool_calls:
        return tool_result(ToolResult(name=before[-1].tool_calls[-1].name, content=str(line["result"])))
    raise DataFormatError(column, "expected `user`, `assistant`, `call`, or the `result` of the call before it")


def _line(message: Message, column: str) -> dict[str, Any]:
    if message.role == "user":
        return {"user": message.content}
    if message.role == "tool":
        return {"result": message.content}
    if message.role == "system" or message.reasoning or len(message.tool_calls) > 1:
        raise DataFormatError(column, "no place for system messages, reasoning and several calls")
    if not message.tool_calls:
        return {"assistant": message.content}
    if message.content:
        raise DataFormatError(column, "no place for words beside a call")
    return {"call": message.tool_calls[0].name, "arguments": message.tool_calls[0].arguments}
