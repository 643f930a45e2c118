"""Rows of ShareGPT, as LLaMA-Factory's documentation has them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from published_rows import TOOLS

from mentor_kit.core.conversation import call
from mentor_kit.core.data_format import DataFormatError
from mentor_kit.hooks.data_formats import data_formats

SHAREGPT = data_formats()["sharegpt"]


def row(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": value} for who, value in turns], "tools": TOOLS, **more}


def add(a: int) -> dict[str, Any]:
    return {"name": "add", "arguments": {"a": a, "b": 1}}


def test_words_and_a_call_are_one_turn():
    dialogue = SHAREGPT.read(
        row(("human", "?"), ("gpt", "I add."), ("function_call", json.dumps(add(1))), ("observation", "2"))
    )
    (_, turn, result) = dialogue.messages
    assert (turn.content, turn.tool_calls) == ("I add.", (call("add", a=1, b=1),))
    assert result.content == "2"


@pytest.mark.parametrize("results", [[("observation", "[2, 3]")], [("observation", "2"), ("observation", "3")]])
def test_two_calls_have_two_results(results: list[tuple[str, str]]):
    dialogue = SHAREGPT.read(row(("human", "?"), ("function_call", json.dumps([add(1), add(2)])), *results))
    assert [message.content for message in dialogue.messages[2:]] == ["2", "3"]
    assert [made.arguments["a"] for made in dialogue.messages[1].tool_calls] == [1, 2]


def test_the_better_of_two_answers_is_the_last_turn():
    better, worse = {"from": "function_call", "value": json.dumps(add(1))}, {"from": "gpt", "value": "No."}
    dialogue = SHAREGPT.read(row(("human", "?"), chosen=better, rejected=worse))
    assert dialogue.messages[-1].tool_calls == (call("add", a=1, b=1),)


def test_the_system_message_is_a_column_or_the_first_turn():
    for dialogue in (
        SHAREGPT.read(row(("human", "?"), ("gpt", "!"), system="Be brief.")),
        SHAREGPT.read(row(("system", "Be brief."), ("human", "?"), ("gpt", "!"))),
    ):
        first = dialogue.messages[0]
        assert (first.role, first.content) == ("system", "Be brief.")


@pytest.mark.parametrize(
    ("turns", "column"),
    [
        ([("narrator", "x")], "conversations.0.from"),
        ([("human", 3)], "conversations.0.value"),
        ([("human", "?"), ("function_call", "{")], "conversations.1.value"),
        ([("human", "?"), ("observation", "2")], "conversations.1.value"),
    ],
)
def test_faults_name_the_column(turns: list[tuple[str, Any]], column: str):
    with pytest.raises(DataFormatError) as caught:
        SHAREGPT.read(row(*turns))
    assert caught.value.column == column
