"""Rows of messages and tools, as TRL's and OpenAI's documentation have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mentor_kit.core.conversation import call
from mentor_kit.core.data_format import DataFormatError
from mentor_kit.hooks.data_formats import data_formats

FORMATS = data_formats()
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def row(arguments: Any, **more: Any) -> dict[str, Any]:
    made = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "assistant", "content": "Sunny."},
    ]
    return {"messages": messages, "tools": [WEATHER], **more}


@pytest.mark.parametrize("name", ["trl", "openai"])
@pytest.mark.parametrize(
    "arguments", [{"city": "Rome"}, '{"city": "Rome"}', json.dumps('{"city": "Rome"}'), "{'city': 'Rome'}"]
)
def test_arguments_are_a_record_or_a_string(name: str, arguments: Any):
    dialogue = FORMATS[name].read(row(arguments))
    assert [message.role for message in dialogue.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert dialogue.messages[2].tool_calls == (call("get_weather", city="Rome"),)
    result = dialogue.messages[3].result
    assert result is not None
    assert (result.name, result.content) == ("get_weather", "sunny")
    (tool,) = dialogue.tools
    assert (tool.name, tool.parameters) == ("get_weather", WEATHER["function"]["parameters"])  # type: ignore[index]


def test_columns_beside_the_messages_are_read():
    dialogue = FORMATS["trl"].read(row({}, id=7, group="easy", answer=3.5, calls=[{"name": "get_weather"}]))
    assert (dialogue.id, dialogue.group, dialogue.key) == ("7", "easy", "3.5")
    assert dialogue.calls == (call("get_weather"),)


def test_results_stand_in_the_order_of_the_calls_by_their_ids():
    calls = [{"id": name, "function": {"name": "get_weather", "arguments": {"city": name}}} for name in ("a", "b", "c")]
    results = [{"role": "tool", "tool_call_id": name, "content": f"of {name}"} for name in ("c", "a", "b")]
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": calls}, *results]
    found = FORMATS["trl"].read({"messages": messages, "tools": [WEATHER]}).messages
    assert [message.content for message in found[2:]] == ["of a", "of b", "of c"]


def test_none_of_other_rows_is_nothing():
    padded = row({"city": "Rome", "zip": None})
    for message in padded["messages"]:
        for key in ("name", "tool_calls", "tool_call_id", "reasoning_content"):
            message.setdefault(key, None)
    schema = {**WEATHER["function"]["parameters"], "properties": {"city": {"type": "string"}, "zip": None}}  # type: ignore[index]
    padded["tools"] = [{"type": "function", "function": {**WEATHER["function"], "parameters": schema}}]  # type: ignore[dict-item]
    assert FORMATS["trl"].read(padded) == FORMATS["trl"].read(row({"city": "Rome"}))


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]}, "messages.1"),
        ({"tools": [{"type": "function", "function": {"parameters": {}}}]}, "tools.0.name"),
        ({"tools": "[{]"}, "tools"),
        ({"tools": [WEATHER, {**WEATHER, "function": {"name": "get_weather"}}]}, "tools.1"),
    ],
)
def test_faults_name_the_column(change: dict[str, Any], column: str):
    with pytest.raises(DataFormatError) as caught:
        FORMATS["trl"].read({**row({"city": "Rome"}), **change})
    assert caught.value.column == column


def test_arguments_that_are_no_record_are_named():
    with pytest.raises(DataFormatError) as caught:
        FORMATS["openai"].read(row('{"city": '))
    assert caught.value.column == "messages.2.tool_calls.0.function.arguments"


def test_content_in_parts():
    """As LLaMA-Factory's v1 format and Anthropic's API have it."""
    made = {"name": "get_weather", "arguments": {"city": "Rome"}}
    factory = [
        {"role": "user", "content": [{"type": "text", "value": "Weather?"}]},
        {
            "role": "assistant",
            "content": [{"type": "reasoning", "value": "I look."}, {"type": "tool_call", "value": json.dumps(made)}],
        },
        {"role": "tool", "content": [{"type": "text", "value": "sunny"}]},
        {"role": "assistant", "content": [{"type": "text", "value": "Sunny."}]},
    ]
    used = {"type": "tool_use", "id": "toolu_1", "name": made["name"], "input": made["arguments"]}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]}
    anthropic = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "I look."}, used]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [{"type": "text", "text": "Sun"}, {"type": "text", "text": "ny."}]},
    ]
    found = [FORMATS["trl"].read({"messages": messages, "tools": [WEATHER]}) for messages in (factory, anthropic)]
    assert found[0] == found[1]
    (_, turn, answered, last) = found[0].messages
    assert (turn.reasoning, turn.tool_calls) == ("I look.", (call("get_weather", city="Rome"),))
    assert (answered.content, last.content) == ("sunny", "Sunny.")


def test_a_part_that_is_no_text_is_named():
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    with pytest.raises(DataFormatError) as caught:
        FORMATS["trl"].read({"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, image]}]})
    assert caught.value.column == "messages.0.content.1"


@pytest.mark.parametrize("name", ["trl", "openai"])
def test_functions_of_older_rows_are_tools(name: str):
    made = row({"city": "Rome"})
    older = {"messages": made["messages"], "functions": [WEATHER["function"]], "tools": None}
    assert FORMATS[name].read(older) == FORMATS[name].read(made)


@pytest.mark.parametrize("name", ["", " "])
def test_a_call_has_a_name(name: str):
    made = row({"city": "Rome"})
    made["messages"][2]["tool_calls"][0]["function"]["name"] = name
    with pytest.raises(DataFormatError) as caught:
        FORMATS["trl"].read(made)
    assert caught.value.column == "messages.2.tool_calls.0.function.name"
