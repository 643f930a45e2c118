"""Dialogues are the same after they were written and read, in every format, as far as it says that it can."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_dialogues import made_dialogues

from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, user
from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue, format_of
from mentor_kit.core.task import DeclaredTool
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.runs.row_files import write_rows
from mentor_kit.runs.rows import read_rows

FORMATS = data_formats()
DIALOGUES = made_dialogues(1000)
WRITTEN = ("trl", "openai", "sharegpt", "sts", "mentor")


def results_are_plain(dialogue: Dialogue) -> Dialogue:
    """Without what only our own records say of a result: that it is an error."""
    messages = [
        message.model_copy(update={"result": message.result.model_copy(update={"ok": True})})
        if message.result is not None
        else message
        for message in dialogue.messages
    ]
    return dialogue.model_copy(update={"messages": tuple(messages)})


def without_columns(dialogue: Dialogue) -> Dialogue:
    return dialogue.model_copy(update=dict.fromkeys(("id", "group", "key", "calls", "correct")))


def with_id(read: Dialogue) -> Callable[[Dialogue], Dialogue]:
    """One that has no id gets that of the read one."""
    return lambda dialogue: dialogue if dialogue.id else dialogue.model_copy(update={"id": read.id})


def expected(name: str, dialogue: Dialogue, read: Dialogue) -> Dialogue:
    """What the documented limits of a format leave of a dialogue."""
    if name == "mentor":
        right = dialogue if dialogue.correct is not None else dialogue.model_copy(update={"correct": True})
        return with_id(read)(right)
    plain = results_are_plain(dialogue)
    if name == "openai":
        return without_columns(plain)
    return with_id(read)(plain) if name == "sts" else plain


def finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(finite(item) for item in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def alternates(messages: list[Message]) -> bool:
    """Whether a dialogue is what LLaMA-Factory takes: (human | observation), (gpt | function_call), …"""
    turns = ["tool" if m.role == "tool" else m.role for m in messages if m.role != "system"]
    merged = [role for index, role in enumerate(turns) if index == 0 or role != "tool" or turns[index - 1] != "tool"]
    odd, even = merged[::2], merged[1::2]
    return len(odd) == len(even) and all(r != "assistant" for r in odd) and all(r == "assistant" for r in even)


def unreadable(call: ToolCall) -> bool:
    return call.state is CallState.MALFORMED


def is_read_again(name: str, dialogue: Dialogue) -> bool:
    """Whether what is written is read; a session with a call that could not be read is for a viewer only."""
    calls = [call for message in dialogue.messages for call in message.tool_calls]
    return name != "sts" or not any(map(unreadable, calls))


def expressible(name: str, dialogue: Dialogue) -> bool:
    """Whether a format can express a dialogue, by its documented limits."""
    calls = [call for message in dialogue.messages for call in message.tool_calls]
    apart = () if name == "openai" else dialogue.calls or ()  # which has no right calls apart
    if not all(finite(call.arguments) for call in (*calls, *apart)) or any(map(unreadable, apart)):
        return False
    if any(map(unreadable, calls)):
        return name in ("sts", "mentor")
    reasons = any(message.reasoning for message in dialogue.messages)
    if name == "openai":
        return not reasons
    if name == "sharegpt":
        beside = any(message.content and message.tool_calls for message in dialogue.messages)
        return not reasons and not beside and alternates(list(dialogue.messages))
    return True


@pytest.mark.parametrize("name", WRITTEN)
def test_a_thousand_dialogues_are_read_as_they_were_written(name: str) -> None:
    one = FORMATS[name]
    written = 0
    for dialogue in DIALOGUES:
        if not expressible(name, dialogue):
            with pytest.raises(DataFormatError):
                one.write(dialogue)
            continue
        row = json.loads(json.dumps(one.write(dialogue), allow_nan=False))
        if not is_read_again(name, dialogue):
            assert "<tool_call>{" in json.dumps(row)
            continue
        read = one.read(row)
        assert read == expected(name, dialogue, read)
        written += 1
    assert written > 250


@pytest.mark.parametrize(
    ("name", "ending"),
    # a session is a file of lines
    [*((name, ".jsonl") for name in WRITTEN), *((name, ".parquet") for name in WRITTEN if name != "sts")],
)
def test_a_file_of_them_is_recognised_and_read_the_same(tmp_path: Path, name: str, ending: str) -> None:
    one: DataFormat = FORMATS[name]
    dialogues = [dialogue for dialogue in DIALOGUES if expressible(name, dialogue) and is_read_again(name, dialogue)]
    dialogues = dialogues[:200]
    rows = [one.write(dialogue) for dialogue in dialogues]
    path = tmp_path / f"rows{ending}"
    write_rows(path, [line for row in rows for line in one.lines(row)])
    lines = [row.values for row in read_rows(path)]
    assert all(isinstance(line, dict) for line in lines)
    assert format_of(lines, FORMATS) == ("trl" if name == "openai" else name)  # type: ignore[arg-type]
    begins = [index for index, line in enumerate(lines) if one.begins(line)]  # type: ignore[arg-type]
    ends = [*begins[1:], len(lines)]
    found = [one.read(one.joined(lines[begin:end])) for begin, end in zip(begins, ends, strict=True)]  # type: ignore[arg-type]
    assert found == [expected(name, dialogue, read) for dialogue, read in zip(dialogues, found, strict=True)]


@pytest.mark.parametrize("name", WRITTEN)
def test_every_written_format_names_its_limits(name: str) -> None:
    assert FORMATS[name].can_read
    assert FORMATS[name].can_write
    assert FORMATS[name].limits


@pytest.mark.parametrize("name", WRITTEN)
def test_a_null_in_a_schema_is_written_and_left_out_when_it_is_read(name: str) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "integer", "default": None}}}
    tool = DeclaredTool(name="f", parameters=parameters)
    row = FORMATS[name].write(Dialogue(messages=(user("?"), assistant("!")), tools=(tool,)))
    assert '"default": null' in json.dumps(row).replace("\\", "").replace('\\"', '"')
    (read,) = FORMATS[name].read(row).tools
    assert read.parameters == {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_no_other_format_is_written() -> None:
    assert {name for name, one in FORMATS.items() if one.can_write} == set(WRITTEN)
