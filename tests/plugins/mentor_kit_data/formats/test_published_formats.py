"""Every published format says what its rows say, and is found out by itself."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from published_rows import MAKERS, NO_RESULTS, ONE_QUESTION, SUMS, rows

from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.data_format import DataFormatError, format_of
from mentor_kit.core.tool import Tool
from mentor_kit.hooks.data_formats import data_formats

FORMATS = data_formats()


def plain(name: str, tool: str) -> str:
    """The sums' name of a tool; ToolACE has names with blanks."""
    return tool.removesuffix("_Numbers").lower() if name == "toolace" else tool


@pytest.mark.parametrize("name", MAKERS)
def test_a_row_says_what_it_is_about(name: str):
    for one, row in zip(SUMS, rows(name), strict=True):
        dialogue = FORMATS[name].read(row)
        assert [plain(name, tool.name) for tool in dialogue.tools] == ["add", "multiply"]
        for tool in dialogue.tools:
            assert Tool.declared(tool.name, tool.description, tool.parameters).check({"a": 1, "b": 2.5}) == ""
            assert Tool.declared(tool.name, tool.description, tool.parameters).check({"a": "one", "b": 2}) != ""
        users = [message.content for message in dialogue.messages if message.role == "user"]
        before = [] if name in ONE_QUESTION else [question for question, _ in one.before]
        assert users == [*before, one.question]
        turns = [message for message in dialogue.messages if message.tool_calls]
        assert len(turns) == bool(one.calls)
        made = [
            {"name": plain(name, call.name), "arguments": call.arguments} for turn in turns for call in turn.tool_calls
        ]
        assert made == one.calls
        results = [message for message in dialogue.messages if message.role == "tool"]
        assert len(results) == (0 if name in NO_RESULTS else len(one.calls))
        for message, call, value in zip(results, one.calls, one.results, strict=False):
            assert message.result is not None
            assert plain(name, message.result.name) == call["name"]
            assert message.result.content in (value, json.dumps({"value": value}))
        if name not in NO_RESULTS or (not one.calls and name != "xlam"):
            assert dialogue.messages[-1].content == one.answer


@pytest.mark.parametrize("name", MAKERS)
def test_the_format_is_found_out(name: str):
    found = format_of(rows(name), FORMATS)
    # whether arguments are strings or records is no difference in reading
    assert found == ("trl" if name == "openai" else name)


@pytest.mark.parametrize("name", MAKERS)
def test_the_format_is_found_out_of_a_table(name: str):
    """Rows as pyarrow gives them back: with None for what only other rows have."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    stream = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows(name)), stream)
    padded = parquet.read_table(stream).to_pylist()
    assert format_of(padded, FORMATS) == ("trl" if name == "openai" else name)
    assert [FORMATS[name].read(row) for row in padded] == [FORMATS[name].read(row) for row in rows(name)]


def test_files_of_two_formats_are_refused():
    with pytest.raises(DataFormatError) as caught:
        format_of([*rows("trl"), *rows("xlam")], FORMATS)
    assert "row 11 xlam" in caught.value.reason


def test_calls_beside_the_messages_are_kept():
    dialogues = [FORMATS["xlam"].read(row) for row in rows("xlam")]
    assert dialogues[9].calls == ()
    assert dialogues[2].calls == tuple(ToolCall(**call) for call in SUMS[2].calls)
    assert [dialogue.id for dialogue in dialogues] == [str(number) for number in range(10)]


TEST_ROW: dict[str, Any] = {
    "uuid": "u-1",
    "source": "bfcl",
    "question": "What is 1 plus 2?",
    "correct_answer": "tool_call",
    "answers": {
        "cannot_answer": "I cannot.",
        "direct": "3",
        "request_for_info": "Which numbers?",
        "tool_call": '<TOOLCALL>[{"name": "add", "arguments": {"a": 1, "b": 2}}]</TOOLCALL>',
    },
    "tools": rows("when2call")[0]["tools"],
    "target_tool": rows("when2call")[0]["tools"][0],
    "orig_tools": None,
    "held_out_param": None,
}


def test_when2calls_test_rows_have_their_right_answer():
    assert format_of([TEST_ROW], FORMATS) == "when2call"
    dialogue = FORMATS["when2call"].read(TEST_ROW)
    assert (dialogue.id, dialogue.group) == ("u-1", "tool_call")
    assert dialogue.calls == (ToolCall(name="add", arguments={"a": 1, "b": 2}),)
    asked = FORMATS["when2call"].read({**TEST_ROW, "correct_answer": "request_for_info"})
    assert (asked.calls, asked.messages[-1].content) == ((), "Which numbers?")
    with pytest.raises(DataFormatError) as caught:
        FORMATS["when2call"].read({**TEST_ROW, "correct_answer": "guess"})
    assert caught.value.column == "answers"


def test_when2calls_preferred_answer_is_the_demonstration():
    row = rows("when2call")[0]
    chosen, rejected = {"role": "assistant", "content": "Sure."}, {"role": "assistant", "content": "No."}
    preferred = {**row, "messages": row["messages"][:1], "chosen_response": chosen, "rejected_response": rejected}
    assert format_of([preferred], FORMATS) == "when2call"
    assert FORMATS["when2call"].read(preferred).messages[-1].content == "Sure."
