"""Calls with arguments of every kind that a schema allows, said by each family's own template and read back."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from argument_sets import HARD, PLAIN, exact
from family_formats import SAMPLES, Sample, format_of, make, make_response_format
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from mentor_kit.chat import ChatFormat, ResponseTemplateParser
from mentor_kit.core.conversation import CallState, ToolCall, assistant
from mentor_kit.core.errors import ChatError
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import check_call


def meet(chat: ChatFormat, given_set: tuple[Tool, st.SearchStrategy[dict[str, Any]]], examples: int) -> Counter[str]:
    """Says calls with such arguments; each is read back exactly, or refused. How many were is returned."""
    tool, arguments = given_set
    tools = {tool.name: tool}
    met: Counter[str] = Counter()

    @seed(1)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(arguments)
    def check(said: dict[str, Any]) -> None:
        try:
            ids = chat.render_turn(assistant(calls=[ToolCall(name=tool.name, arguments=said)]), tools)
        except ChatError as error:
            assert "reads back the same" in error.message or "refuses a conversation" in error.message  # noqa: PT017
            met["refused"] += 1
            return
        (heard,) = chat.parse(ids, tools).tool_calls
        assert exact(heard.arguments) == exact(said)
        assert check_call(heard, tools).state is CallState.VALID
        met["read back"] += 1

    check()
    return met


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_plain_arguments_are_always_read_back(sample: Sample):
    assert meet(format_of(sample.name), PLAIN, 10)["refused"] == 0


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_any_arguments_are_read_back_or_refused(sample: Sample):
    met = meet(format_of(sample.name), HARD, 15)
    assert met["refused"] <= met["read back"] / 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_two_thousand_argument_sets(sample: Sample):
    assert meet(format_of(sample.name), PLAIN, 2000)["refused"] == 0
    met = meet(format_of(sample.name), HARD, 2000)
    assert met["refused"] <= met["read back"] / 4


LIGHT = {
    "light": Tool.declared(
        "light",
        "",
        {"type": "object", "properties": {"on": {"type": "boolean"}, "level": {"type": ["integer", "null"]},
                                          "name": {"type": "string"}, "loose": {}}},
    )
}  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [{"on": True}, {"level": None}, {"on": False, "level": 3}, {"name": "True"}, {"name": "None"}, {}]
)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_words_of_python(sample: Sample, arguments: dict[str, Any]):
    chat = format_of(sample.name)
    (heard,) = chat.parse(
        chat.render_turn(assistant(calls=[ToolCall(name="light", arguments=arguments)]), LIGHT), LIGHT
    ).tool_calls
    assert exact(heard.arguments) == exact(arguments)


#: What a template cannot say: the value would be read as another one, or not at all.
UNSAYABLE = [
    ("qwen3_5_think", {"loose": "True"}),
    ("qwen3_6", {"loose": "75001"}),
    ("glm4moe", {"loose": "null"}),
    ("qwen3_5_think", {"name": "a\n</parameter>\nb"}),
    ("qwen3_5_think", {"name": "a\n<parameter=on>\nTrue"}),
    ("nemotron_3_nano", {"name": "a\n</function>"}),
    ("nemotron_3_nano", {"name": "a</parameter>\n</function>"}),
    ("glm4moe", {"name": "a</arg_value>b"}),
    ("glm4moe", {"name": "<arg_key>"}),
    ("gemma4", {"name": 'a<|"|>b'}),
    ("lfm2_2_5", {"name": "a<|im_end|>b"}),
    ("qwen3", {"name": "<|im_end|>"}),
]


@pytest.mark.parametrize(("template", "arguments"), UNSAYABLE)
def test_what_a_template_cannot_say_is_refused_by_name(template: str, arguments: dict[str, Any]):
    with pytest.raises(ChatError) as caught:
        make(template).render_turn(assistant(calls=[ToolCall(name="light", arguments=arguments)]), LIGHT)
    assert "'light'" in caught.value.message


@pytest.mark.parametrize(("one", "other"), [(True, 1), (1.0, 1), (False, 0)])
def test_values_that_python_holds_equal_are_told_apart(one: Any, other: Any):
    """A template that loses the difference is refused."""
    lossy = f"(tool_call.arguments | tojson).replace(': {json.dumps(one)}', ': {json.dumps(other)}')"
    chat = make("qwen3", changed=("tool_call.arguments | tojson", lossy))
    chat.render_turn(assistant(calls=[ToolCall(name="light", arguments={"loose": other})]))
    with pytest.raises(ChatError, match="tool calls"):
        chat.render_turn(assistant(calls=[ToolCall(name="light", arguments={"loose": one})]))


RESPONSES = ["qwen3", "qwen3_5", "glm4moe", "nemotron_3", "llama3", "gptoss", "lfm2_2_5", "gemma4"]


@pytest.mark.parametrize("name", RESPONSES)
def test_a_tokenizers_own_response_template_changes_nothing_where_a_family_reads(name: str):
    chat = make_response_format(name)
    assert not isinstance(chat.parser, ResponseTemplateParser)
    assert meet(chat, PLAIN, 15)["refused"] == 0
