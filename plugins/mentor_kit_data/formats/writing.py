"""Parts of written rows that several formats share: calls, tools, and what they cannot express.

A call that could not be read has no place in rows that models are trained on: its string is what a model wrote in its
own syntax, and another one would learn that syntax from it. So a dialogue with one is refused there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from mentor_kit.core.conversation import CallState, ToolCall
from mentor_kit.core.data_format import DataFormatError, Dialogue
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import DeclaredTool

#: What no format can express.
NUMBERS = "an argument that is no finite number (a dialogue with one is refused)"
NULLS = "a schema's keyword that is null, such as a default (it is written, and left out when it is read)"
#: What formats of rows cannot express that models are trained on.
EVERYWHERE = (
    "a call that could not be read (a dialogue with one is refused)",
    NUMBERS,
    NULLS,
    "whether a result is an error, or was cut",
)
#: What formats cannot express whose readers look for calls in words.
WORDS = "words that look like calls or reasoning, where a dialogue has no calls (they are read as such)"


def check_dialogue(dialogue: Dialogue, *, unreadable: bool = False) -> None:
    """Refuse a dialogue that a format cannot express.

    Args:
        dialogue: what is to be written.
        unreadable: whether the format has a form for calls that could not be read.

    Raises:
        DataFormatError: a call could not be read, or has arguments that JSON does not have.
    """
    for index, message in enumerate(dialogue.messages):
        _check_calls(message.tool_calls, f"messages.{index}.tool_calls", unreadable=unreadable)


def _check_calls(calls: Sequence[ToolCall], column: str, *, unreadable: bool) -> None:
    for index, call in enumerate(calls):
        if not unreadable and (call.state is CallState.MALFORMED or not call.name):
            given = (call.raw or call.name)[:80]
            raise DataFormatError(f"{column}.{index}", f"a call that could not be read: {given!r}")
        if not _finite(call.arguments):
            raise DataFormatError(f"{column}.{index}.arguments", "an argument is no finite number; JSON has no others")


def _finite(value: Json) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_finite(item) for item in value.values())
    return all(_finite(item) for item in value) if isinstance(value, list | tuple) else True


def as_json(value: Json) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False)


def bare_tool(tool: DeclaredTool) -> dict[str, Json]:
    """A tool's name, description and parameters."""
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def tool_schema(tool: DeclaredTool) -> dict[str, Json]:
    """A tool in the form that chat templates and OpenAI-compatible servers take."""
    return {"type": "function", "function": bare_tool(tool)}


def named_call(call: ToolCall) -> dict[str, Json]:
    """A call's name and its arguments."""
    return {"name": call.name, "arguments": call.arguments}


def call_ids(dialogue: Dialogue) -> list[tuple[str, ...]]:
    """For each message the ids of its calls, or, for a result, the id of the call that it answers.

    Calls are numbered through the dialogue. Results answer the calls before them of the same name in order, else the
    first open one. A result without a call has no id.
    """
    found: list[tuple[str, ...]] = []
    waiting: list[tuple[str, str]] = []
    made = 0
    for message in dialogue.messages:
        if message.role == "tool":
            name = message.result.name if message.result is not None else ""
            place = next((index for index, (_, called) in enumerate(waiting) if called == name), 0)
            found.append((waiting.pop(place)[0],) if waiting else ())
            continue
        ids = tuple(f"call_{made + index}" for index in range(len(message.tool_calls)))
        waiting = list(zip(ids, (call.name for call in message.tool_calls), strict=True))
        made += len(ids)
        found.append(ids)
    return found


def own_columns(dialogue: Dialogue) -> dict[str, Json]:
    """What stands beside a row's turns, under the names by which it is read: its id, group, key, calls and verdict.

    Raises:
        DataFormatError: a call could not be read, or has arguments that JSON does not have.
    """
    _check_calls(dialogue.calls or (), "calls", unreadable=False)
    found: dict[str, Json] = {
        "id": dialogue.id,
        "group": dialogue.group,
        "answer": dialogue.key,
        "calls": None if dialogue.calls is None else [named_call(call) for call in dialogue.calls],
        "correct": dialogue.correct,
    }
    return {name: value for name, value in found.items() if value is not None}


def fingerprint(dialogue: Dialogue) -> str:
    """An id for a dialogue without one, made of its messages: the same for the same dialogue."""
    said = [message.to_json() for message in dialogue.messages]
    return hashlib.sha256("\n".join(said).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def schemas(tools: Sequence[DeclaredTool]) -> list[dict[str, Json]]:
    """All tools in the form of `tool_schema`."""
    return [tool_schema(tool) for tool in tools]
