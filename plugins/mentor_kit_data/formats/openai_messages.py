"""The formats `trl` and `openai`: `messages` with `tool_calls`, and `tools` beside them.

    messages  [{"role": "system" | "developer" | "user" | "assistant" | "tool" | "function", "content", "tool_calls",
              "tool_call_id", "name"}]; content may be a list of parts (`mentor_kit_data.formats.content_parts`);
              `prompt` and `completion` (or `chosen`) are the two parts of such a list
    tools     a list of schemas, or one in JSON; `functions` of OpenAI's older rows, too

TRL has a call's arguments as a record, OpenAI as a JSON string; both are read by both names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import DeclaredTool
from mentor_kit_data.formats.content_parts import without_parts
from mentor_kit_data.formats.dialogues import DialogueBuilder, beside, call_id, call_of
from mentor_kit_data.formats.message_writers import OPENAI_LIMITS, TRL_LIMITS, openai_row, trl_row
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.system_tools import listed_tools
from mentor_kit_data.formats.values import decoded, entries, holds_json, record, shown, string, text, written
from mentor_kit_data.formats.written_calls import call_values

_REASONING = ("reasoning_content", "reasoning", "thinking")


class TRLFormat(DataFormat):
    """Rows of `messages` and `tools` whose calls' arguments are records."""

    limits: Sequence[str] = TRL_LIMITS

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        turns = row.get("messages") or row.get("prompt")
        if row.get("chosen_response") is not None:
            return False  # When2Call's: the messages alone are without their answer
        return isinstance(turns, list) and bool(turns) and _has_role(turns[0])

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        column = next((name for name in ("messages", "prompt") if row.get(name) is not None), "messages")
        messages = list(entries(row.get(column), column))
        answer = next((name for name in ("completion", "chosen") if row.get(name) is not None), None)
        if column == "prompt" and answer is not None:
            messages += entries(row[answer], answer)
        named = "functions" if row.get("tools") is None else "tools"
        tools = declared_tools(row.get(named), named)
        return read_messages(messages, tools, column).dialogue(**beside(row))

    def write(self, dialogue: Dialogue) -> dict[str, Json]:
        return trl_row(dialogue)


class OpenAIFormat(TRLFormat):
    """Rows of `messages` and `tools` whose calls' arguments are JSON strings."""

    limits = OPENAI_LIMITS

    def write(self, dialogue: Dialogue) -> dict[str, Json]:
        return openai_row(dialogue)


def _has_role(turn: Any) -> bool:
    return isinstance(turn, Mapping) and isinstance(turn.get("role"), str)


def read_messages(messages: Sequence[Any], tools: Sequence[DeclaredTool], column: str) -> DialogueBuilder:
    """The turns of a list of messages.

    Args:
        messages: as OpenAI's API has them.
        tools: the row's; where there are none, those that the system message lists.
        column: the messages' column.

    Raises:
        DataFormatError: a message is of another form.
    """
    places = [f"{column}.{index}" for index in range(len(messages))]
    turns = [
        (turn, place)
        for message, place in zip(messages, places, strict=True)
        for turn in without_parts(record(message, place), place)
    ]
    first, place = turns[0] if turns else ({}, "")
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        listed = listed_tools(first["content"], f"{place}.content")
        if listed is not None:
            tools, turns[0] = tools or listed, ({**first, "content": ""}, place)
    in_words = not any(turn.get("tool_calls") or turn.get("function_call") for turn, _ in turns)
    builder = DialogueBuilder(tools)
    for turn, place in turns:
        _add(builder, turn, place, read_calls=in_words)
    return builder


def _add(builder: DialogueBuilder, message: Mapping[str, Any], column: str, *, read_calls: bool) -> None:
    role = string(message.get("role"), f"{column}.role")
    content = message.get("content")
    if role in ("system", "developer"):
        builder.system(text(content, f"{column}.content"))
    elif role in ("user", "human"):
        builder.user(text(content, f"{column}.content"))
    elif role in ("assistant", "model"):
        given = list(_given_calls(message, column))
        builder.assistant(
            text(content, f"{column}.content"),
            [call_of(value, place) for value, place in given],
            ids=[call_id(value) for value, _ in given],
            reasoning=next((message[key] for key in _REASONING if isinstance(message.get(key), str)), ""),
            column=f"{column}.content",
            read_calls=read_calls,
        )
    elif role == "tool_call":
        calls = call_values(content, f"{column}.content")
        builder.assistant("", [call_of(value, f"{column}.content") for value in calls], column=f"{column}.content")
    elif role in ("tool", "function", "observation", "ipython", "tool_response"):
        name, identity = message.get("name"), message.get("tool_call_id")
        builder.result(
            written(content, f"{column}.content"),
            name=name if isinstance(name, str) else "",
            call_id=None if identity is None else str(identity),
            column=column,
        )
    else:
        raise DataFormatError(
            f"{column}.role", f"expected system, developer, user, assistant or tool, found {shown(role)}"
        )


def _given_calls(message: Mapping[str, Any], column: str) -> Iterator[tuple[Any, str]]:
    """Yield the calls of a message, each with its place: `tool_calls`, or the one of `function_call`."""
    calls = message.get("tool_calls")
    if calls:
        for index, value in enumerate(entries(calls, f"{column}.tool_calls")):
            yield value, f"{column}.tool_calls.{index}"
    elif message.get("function_call"):
        yield decoded(message["function_call"], f"{column}.function_call"), f"{column}.function_call"


def holds_messages(value: Any) -> bool:
    """Whether a value is a list of messages, or a string that looks like one in JSON."""
    if isinstance(value, str):
        return holds_json(value, list) and '"role"' in value[:2000]
    return isinstance(value, list) and bool(value) and _has_role(value[0])
