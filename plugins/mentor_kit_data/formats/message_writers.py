"""Writes `messages` with `tool_calls` and `tools`, as TRL and mlx-lm train on them, and as OpenAI's API takes them.

arguments     ids of calls   reasoning             columns beside messages and tools
TRL, mlx-lm  a record      none           `reasoning_content`   id, group, answer, calls, correct
OpenAI       a JSON string in each        refused               none
"""

from __future__ import annotations

from mentor_kit.core.conversation import Message
from mentor_kit.core.data_format import DataFormatError, Dialogue
from mentor_kit.core.frozen_model import Json
from mentor_kit_data.formats.writing import (
    EVERYWHERE,
    WORDS,
    as_json,
    call_ids,
    check_dialogue,
    named_call,
    own_columns,
    schemas,
)

TRL_LIMITS = (*EVERYWHERE, WORDS)
OPENAI_LIMITS = (
    *TRL_LIMITS,
    "id, group, answer's key, right calls apart from the messages, verdict",
    "reasoning (a dialogue with some is refused)",
)


def trl_row(dialogue: Dialogue) -> dict[str, Json]:
    """Return the dialogue as a row for TRL and mlx-lm.

    Raises:
        DataFormatError: see `check_dialogue`.
    """
    check_dialogue(dialogue)
    messages = [_trl_message(message) for message in dialogue.messages]
    return {"messages": messages} | _tools(dialogue) | own_columns(dialogue)


def openai_row(dialogue: Dialogue) -> dict[str, Json]:
    """Return the dialogue as a row for OpenAI's fine-tuning.

    Raises:
        DataFormatError: see `check_dialogue`; or the assistant reasons, or a result answers no call.
    """
    check_dialogue(dialogue)
    messages = [
        _openai_message(message, ids, f"messages.{index}")
        for index, (message, ids) in enumerate(zip(dialogue.messages, call_ids(dialogue), strict=True))
    ]
    return {"messages": messages} | _tools(dialogue)


def _tools(dialogue: Dialogue) -> dict[str, Json]:
    return {"tools": schemas(dialogue.tools)} if dialogue.tools else {}


def _trl_message(message: Message) -> dict[str, Json]:
    form: dict[str, Json] = {"role": message.role}
    if message.role == "tool" and message.result is not None:
        form["name"] = message.result.name
    form["content"] = message.content
    if message.reasoning:
        form["reasoning_content"] = message.reasoning
    if message.tool_calls:
        form["tool_calls"] = [{"type": "function", "function": named_call(call)} for call in message.tool_calls]
    return form


def _openai_message(message: Message, ids: tuple[str, ...], column: str) -> dict[str, Json]:
    if message.reasoning:
        hint = "`trl` has reasoning, and is the same otherwise"
        raise DataFormatError(f"{column}.reasoning", "OpenAI's messages have no reasoning", hint=hint)
    if message.role == "tool":
        if not ids:
            raise DataFormatError(column, "a result without a call before it")
        return {"role": "tool", "tool_call_id": ids[0], "content": message.content}
    form: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        form["tool_calls"] = [
            {"id": identity, "type": "function", "function": {"name": call.name, "arguments": as_json(call.arguments)}}
            for identity, call in zip(ids, message.tool_calls, strict=True)
        ]
    return form
