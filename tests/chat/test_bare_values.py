"""Values without quotation marks, read by the tool's schema."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from family_formats import PUBLISHED, SAMPLES, Sample, format_of, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentor_kit.chat.families import families as known_families
from mentor_kit.core.conversation import assistant, call
from mentor_kit.core.errors import ChatError
from mentor_kit.core.tool import Tool

KINDS = {sample.family: sample for sample in reversed(SAMPLES)}
WORDS = st.lists(st.from_regex(r"[A-Za-zäöü]{1,8}", fullmatch=True), min_size=2, max_size=4).map(" ".join)
QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
TOOLS = {
    "note": Tool.declared(
        "note",
        "Note something.",
        {"type": "object", "properties": {"text": {"type": "string"}, "tags": {"type": "array"}}},
    )
}

#: Bare words of the two XML families, a schema, and what the schema says that they are.
BARE = [
    ("75001", {"type": "string"}, "75001"),
    ("75001", {"type": "integer"}, 75001),
    ("75001", {}, 75001),
    ("75001", None, 75001),
    ("true", {"type": "string"}, "true"),
    ("true", {"type": ["string", "boolean"]}, True),
    ("null", {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
    ("1.50", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "1.50"),
    ("1.0", {"type": ["string", "integer"]}, 1.0),
    ("2", {"enum": ["1", "2"]}, "2"),
    ("2", {"enum": ["one", 2]}, 2),
    ("[1, 2]", {"type": "string"}, "[1, 2]"),
    ("[1, 2]", {"type": "array"}, [1, 2]),
    ("two", {"type": "integer"}, "two"),
    ('"quoted"', {"type": "string"}, '"quoted"'),
    ("7", {"type": 5, "anyOf": 3}, 7),
    ("7", {"type": [{}, "string"]}, "7"),
]


@pytest.mark.parametrize("family", ["function-xml", "key-value-xml"])
@pytest.mark.parametrize(("words", "schema", "value"), BARE)
def test_a_bare_value_is_what_its_schema_says(family: str, words: str, schema: Any, value: Any):
    parser: Any = next(found for found in known_families() if found.name == family).parser(False)
    text = PUBLISHED[family].replace("divide", "find")
    for before, after in (("\n1\n", f"\n{words}\n"), (">1<", f">{words}<")):
        text = text.replace(before, after)
    properties = {} if schema is None else {"a": schema}
    tool = Tool.declared("find", "Find.", {"type": "object", "properties": properties})
    (made,) = parser.parse(text, {"find": tool}).tool_calls
    assert json.dumps(made.arguments) == json.dumps({"a": value, "b": 2})
    (plain,) = parser.parse(text).tool_calls
    assert json.dumps(plain.arguments) == json.dumps(
        {"a": words if words in ("two", '"quoted"') else json.loads(words), "b": 2}
    )


@pytest.mark.parametrize("sample", [KINDS["function-xml"], KINDS["key-value-xml"]], ids=lambda sample: sample.family)
def test_texts_that_look_like_numbers_can_be_said_where_the_schema_wants_texts(sample: Sample):
    chat = format_of(sample.name)

    @QUICK
    @given(st.integers().map(str) | st.sampled_from(["true", "null", "1e5", "[]", "{}"]), WORDS)
    def check(text: str, tag: str) -> None:
        turn = assistant(calls=[call("note", text=text, tags=[tag])])
        with pytest.raises(ChatError, match="tool calls"):
            chat.render_turn(turn)
        (heard,) = chat.parse(chat.render_turn(turn, TOOLS), TOOLS).tool_calls
        assert heard.arguments == {"text": text, "tags": [tag]}

    check()


#: Texts that end, or change, between the apostrophes that LFM's templates put around them unescaped.
BETWEEN_APOSTROPHES = [
    "\\", "a\\", "C:\\new\\table", "\\n", "\\'", "\\\\'", '\\"', "$\\frac{1}{2}$", "\\u00e9", "\\x41", "\\N{DASH}",
    "a\\\nb", "'", "''", "'tis", "dogs' tails", "rock 'n' roll", "it's", "a \"b\" 'c'", "{'a': 1}", "'''", "\x00",
    "\r\n", "\u2028", "a', tags=['b", "a')]<|tool_call_end|>",
]  # fmt: skip


@pytest.mark.parametrize("template", ["lfm2_2_5", "lfm2_2_5_v2"])
@pytest.mark.parametrize("text", BETWEEN_APOSTROPHES)
def test_texts_that_a_template_does_not_escape_are_escaped(template: str, text: str):
    chat = make(template)
    calls = [call("note", text=text, tags=[text]), call("note", text="b", tags=["c"])]
    ids = chat.render_turn(assistant("So.", calls=calls))
    heard = chat.parse(ids)
    assert heard.content == "So."
    assert [made.arguments for made in heard.tool_calls] == [made.arguments for made in calls]
    # as Python reads it, which is what the family writes
    listed = chat.tokenizer.decode(ids).split("<|tool_call_start|>")[1].rpartition("<|tool_call_end|>")[0]
    if text != "it's" and "\n" not in listed:
        (first, _) = ast.parse(listed, mode="eval").body.elts  # type: ignore[attr-defined]
        assert {word.arg: ast.literal_eval(word.value) for word in first.keywords} == {"text": text, "tags": [text]}


def test_any_text_is_said_in_lfms_calls():
    chat = make("lfm2_2_5_v2")

    @QUICK
    @given(st.text(st.sampled_from("ab'\"\\\n ,=()[]{}nxu0é") | st.characters(exclude_categories=["Cs"]), max_size=12))
    def check(text: str) -> None:
        (heard,) = chat.parse(chat.render_turn(assistant(calls=[call("note", text=text)]))).tool_calls
        assert heard.arguments == {"text": text}

    check()


def test_texts_that_need_no_escaping_stay_as_the_template_writes_them():
    chat = make("lfm2_2_5")
    for text in ("it's", "two words", 'a "b"', "a\nb"):
        written = chat.tokenizer.decode(chat.render_turn(assistant(calls=[call("note", text=text)])))
        assert f"note(text='{text}')" in written
