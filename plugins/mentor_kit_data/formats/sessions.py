"""The format `sts`: the Hugging Face hub's Session Trace Simple Format, which its viewer shows.

A file holds one session, a header line and a line for each message (huggingface.co/docs/hub/session-traces-format):

    {"type": "session", "harness": "mentor-kit", "id": "…", "name": "…"}
    {"type": "message", "message": {"role", "content", "reasoningContent", "toolCalls", "toolCallId"}}

A row here is the header with the lines' messages in `messages`. A header may have further fields, which the hub
ignores: tools, group, answer, right calls and verdict stand there, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mentor_kit.core.conversation import CallState, Message, ToolCall
from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue
from mentor_kit.core.frozen_model import Json
from mentor_kit_data.formats.dialogues import DialogueBuilder, beside, call_id, call_of
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.values import entries, record, shown, string, text, written
from mentor_kit_data.formats.writing import (
    NULLS,
    NUMBERS,
    as_json,
    call_ids,
    check_dialogue,
    fingerprint,
    own_columns,
    schemas,
)

#: The id of this package as a program that makes sessions.
HARNESS = "mentor-kit"
_LONGEST_NAME = 80


class SessionTraceFormat(DataFormat):
    """Sessions of the hub's trace viewer."""

    limits = (
        NUMBERS,
        NULLS,
        "whether a result is an error, or was cut",
        "a call that could not be read (its string stands among the words, and the session is not read again)",
        "a missing id (one is made of the messages)",
    )
    one_per_file = True

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        if row.get("type") == "session":
            return isinstance(row.get("harness"), str) and "id" in row
        return row.get("type") == "message" and isinstance(row.get("message"), Mapping) and "role" in row["message"]

    def begins(self, line: Mapping[str, Any]) -> bool:
        return line.get("type") == "session"

    def joined(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        header, *others = lines
        return {**header, "messages": [line.get("message") for line in others if line.get("type") == "message"]}

    def lines(self, row: Mapping[str, Json]) -> list[dict[str, Json]]:
        header = {key: value for key, value in row.items() if key != "messages"}
        return [header, *({"type": "message", "message": message} for message in row["messages"])]

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        if row.get("type") != "session":
            raise DataFormatError("type", f"expected a session's header first, found {shown(row.get('type'))}")
        builder = DialogueBuilder(declared_tools(row.get("tools"), "tools"))
        for index, message in enumerate(entries(row.get("messages") or [], "messages")):
            _add(builder, record(message, f"messages.{index}"), f"messages.{index}")
        return builder.dialogue(**beside(row))

    def write(self, dialogue: Dialogue) -> dict[str, Json]:
        check_dialogue(dialogue, unreadable=True)
        row: dict[str, Json] = {"type": "session", "harness": HARNESS, "id": dialogue.id or fingerprint(dialogue)}
        row |= {"name": _name(dialogue)} | ({"tools": schemas(dialogue.tools)} if dialogue.tools else {})
        row |= own_columns(dialogue)
        messages = list(zip(dialogue.messages, call_ids(dialogue), strict=True))
        unread = {
            identity
            for message, ids in messages
            for identity, call in zip(ids, message.tool_calls, strict=False)
            if _unreadable(call)
        }
        return row | {"messages": [_message(message, ids, unread) for message, ids in messages]}


def _name(dialogue: Dialogue) -> str:
    """A title: the beginning of the first question."""
    first = next((message.content for message in dialogue.messages if message.role == "user"), "")
    words = " ".join(first.split())
    return words if len(words) <= _LONGEST_NAME else words[: _LONGEST_NAME - 1] + "…"


def _unreadable(call: ToolCall) -> bool:
    return call.state is CallState.MALFORMED or not call.name


def _message(message: Message, ids: Sequence[str], unread: Collection[str]) -> dict[str, Json]:
    """A message; the strings of calls that could not be read stand among its words, as a viewer shows them."""
    strings = [call.raw or call.name for call in message.tool_calls if _unreadable(call)]
    form: dict[str, Json] = {"role": message.role, "content": "\n".join(filter(None, (message.content, *strings)))}
    if message.reasoning:
        form["reasoningContent"] = message.reasoning
    calls: list[Json] = [
        {"id": identity, "function": {"name": call.name, "arguments": as_json(call.arguments)}}
        for identity, call in zip(ids, message.tool_calls, strict=False)
        if identity not in unread
    ]
    if calls:
        form["toolCalls"] = calls
    if message.role == "tool" and ids and ids[0] not in unread:
        form["toolCallId"] = ids[0]
    return form


def _add(builder: DialogueBuilder, message: Mapping[str, Any], column: str) -> None:
    role = string(message.get("role"), f"{column}.role")
    content = message.get("content")
    if role == "system":
        builder.system(text(content, f"{column}.content"))
    elif role == "user":
        builder.user(text(content, f"{column}.content"))
    elif role == "assistant":
        calls = entries(message.get("toolCalls") or [], f"{column}.toolCalls")
        builder.assistant(
            text(content, f"{column}.content"),
            [call_of(call, f"{column}.toolCalls.{number}") for number, call in enumerate(calls)],
            ids=[call_id(call) for call in calls],
            reasoning=text(message.get("reasoningContent"), f"{column}.reasoningContent"),
            column=f"{column}.content",
            read_calls=False,
        )
    elif role == "tool":
        identity = message.get("toolCallId")
        builder.result(
            written(content, f"{column}.content"), call_id=None if identity is None else str(identity), column=column
        )
    else:
        raise DataFormatError(f"{column}.role", f"expected system, user, assistant or tool, found {shown(role)}")
