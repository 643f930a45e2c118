"""Calls in an assistant's words are read in every notation that data has, and other words are left as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_data.formats.written_calls import read_turn

from mentor_kit.core.conversation import call
from mentor_kit.core.data_format import DataFormatError
from mentor_kit.core.task import DeclaredTool
from mentor_kit.hooks.data_formats import data_formats

PARAMETERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {}}}
TOOLS = [DeclaredTool(name=name, parameters=PARAMETERS) for name in ("add", "Get_Holidays", "note.add")]
ADD = call("add", a=1, b="x")


TWO = [ADD, call("Get_Holidays", a=2, b=["f(x)", {"k": True}])]
BOTH = '{"name": "add", "arguments": {"a": 1, "b": "x"}}'
XML = "<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\nx\n</parameter>\n</function>"
QUOTED = "see [note, Get Holidays(2)]"


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (f"<tool_call>\n{BOTH}\n</tool_call>", "", [ADD]),
        ("<tool_call>{'name': 'add', 'arguments': {'a': 1, 'b': 'x'}}</tool_call>", "", [ADD]),
        (f"I add.\n<tool_call>{json.dumps({'name': 'add', 'arguments': ADD.arguments})}</tool_call>", "I add.", [ADD]),
        (f'<tool_call>[{BOTH}, {{"name": "add"}}]</tool_call>', "", [ADD, call("add")]),
        (f"<TOOLCALL>[{BOTH}]</TOOLCALL>", "", [ADD]),
        (f"<functioncall> {BOTH} <|endoftext|>", "", [ADD]),
        (f"<tool_call>\n{XML}\n</tool_call>", "", [ADD]),
        ('[TOOL_CALLS]add[ARGS]{"a": 1, "b": "x"}', "", [ADD]),
        ("<|tool_call_start|>[add(a=1, b='x')]<|tool_call_end|>", "", [ADD]),
        ('[add(a=1, b="x")]', "", [ADD]),
        ('[add(a=1, b="x"), Get Holidays(a=2, b=["f(x)", {"k": True}])]', "", TWO),
        (f'[Get Holidays(b="{QUOTED}")]', "", [call("Get_Holidays", b=QUOTED)]),
        ("[note.add()]", "", [call("note.add")]),
        ("[3D Model's Search(a=1), add(b='(,')]", "", [call("3D_Model_s_Search", a=1), call("add", b="(,")]),
        (BOTH.replace("arguments", "parameters"), "", [ADD]),
        (f"[{BOTH}]", "", [ADD]),
    ],
)
def test_every_notation_is_read(text: str, content: str, calls: list[Any]):
    found = read_turn(text, TOOLS, "content")
    assert (found.content, list(found.calls), found.reasoning) == (content, calls, "")


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.",
        '{"answer": 3}',
        "[1, 2, 3]",
        "[see (a) and (b)]",
        '{"name": "Ada", "arguments": {"for": 1}}',
        "Use `add(a=1)` for that.",
        "",
    ],
)
def test_words_are_words(text: str):
    found = read_turn(text, TOOLS, "content")
    assert (found.content, found.calls) == (text, ())


def test_reasoning_before_the_words_is_apart():
    found = read_turn('<think>\nI add.\n</think>\n\n<tool_call>{"name": "add"}</tool_call>', TOOLS, "content")
    assert (found.content, found.reasoning, found.calls) == ("", "I add.", (call("add"),))


@pytest.mark.parametrize(
    "text", ["<tool_call>{'name': </tool_call>", '<TOOLCALL>[{"nam": 1}]</TOOLCALL>', "<function=add>"]
)
def test_calls_that_cannot_be_read_are_a_fault(text: str):
    with pytest.raises(DataFormatError) as caught:
        read_turn(text, TOOLS, "messages.1.content")
    assert caught.value.column == "messages.1.content"


KEY = st.text("kv", min_size=1, max_size=2)
VALUES = st.recursive(
    st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8).filter(lambda text: "\x00" not in text),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEY, inner, max_size=2),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(st.sampled_from("ab"), VALUES)


@given(st.lists(ARGUMENTS, min_size=1, max_size=3))
def test_what_is_written_as_json_is_read(arguments: list[dict[str, Any]]):
    blocks = [json.dumps({"name": "add", "arguments": one}) for one in arguments]
    if any("tool_call>" in block for block in blocks):
        return
    text = "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks)
    assert list(read_turn(text, TOOLS, "c").calls) == [call("add", **one) for one in arguments]


@given(st.lists(ARGUMENTS, min_size=1, max_size=3))
def test_what_is_written_as_python_is_read(arguments: list[dict[str, Any]]):
    written = ", ".join(f"Get Holidays({', '.join(f'{k}={v!r}' for k, v in one.items())})" for one in arguments)
    assert list(read_turn(f"[{written}]", TOOLS, "c").calls) == [call("Get_Holidays", **one) for one in arguments]


@given(st.text("<>/_tool_call[]{}()'\"addname:, =1\n", max_size=40))
def test_any_text_is_read_or_a_named_fault(text: str):
    try:
        found = read_turn(text, TOOLS, "c")
    except DataFormatError as error:
        column, calls = error.column, ()
    else:
        column, calls = "c", found.calls
    assert column == "c"
    assert all(one.name for one in calls)


@pytest.mark.parametrize("role", ["assistant", "tool_call"])
@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ("{'a': (1, 2), 3: None}", {"a": [1, 2], "3": None}),
        ("{'a': {1, 2}}", None),
        ("{'a': b'x'}", None),
        ("{'a': 1j}", None),
        ("{'a': ...}", None),
    ],
)
def test_python_s_notation_gives_values_of_json(role: str, arguments: str, read: dict[str, Any] | None) -> None:
    made = f"{{'name': 'f', 'arguments': {arguments}}}"
    content = f"<tool_call>{made}</tool_call>" if role == "assistant" else made
    schema = {"type": "object", "properties": {"3": {"type": "null"}}}
    tools = [{"name": "f", "parameters": schema}]
    row = {"messages": [{"role": "user", "content": "?"}, {"role": role, "content": content}], "tools": tools}
    if read is None:
        with pytest.raises(DataFormatError):
            data_formats()["trl"].read(row)
    else:
        assert data_formats()["trl"].read(row).messages[-1].tool_calls[0].arguments == read


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", " ```json {} ``` "])
@pytest.mark.parametrize("written", [BOTH, f"[{BOTH}]"])
def test_calls_in_a_block_of_markdown(fence: str, written: str) -> None:
    assert read_turn(fence.replace("{}", written), TOOLS, "").calls == (ADD,)


@pytest.mark.parametrize("words", ['```json\n{"a": 1}\n```', f"So:\n```json\n{BOTH}\n```", "```json\n{add}\n```"])
def test_other_blocks_of_markdown_are_words(words: str) -> None:
    found = read_turn(words, TOOLS, "")
    assert (found.calls, found.content) == ((), words)
