"""Tools with schemas of all kinds, and arguments that these allow."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from mentor_kit.core.tool import Tool

TAGS = [
    "<tool_call>", "</tool_call>", "<think>", "</think>", "<function=note>", "</function>", "<parameter=text>",
    "</parameter>", "<arg_key>", "</arg_value>", "[TOOL_CALLS]", "[ARGS]", '<|"|>', "<|im_end|>", "<|channel|>",
    "<|tool_call_end|>", "<｜tool▁call▁end｜>", "<b>", "</html>", "<", ">", "&lt;",
]  # fmt: skip
PIECES = [
    *TAGS, '"', "'", "''", '"""', "\\", "\\n", "\\u0041", "\n", "\r\n", "\t", " ", "```", "```json\n{}\n```", "{", "}",
    "[", "]", ",", ":", "=", "(", ")", "True", "False", "None", "true", "null", "1", "-2.5", "1e5", "NaN", "{{ x }}",
    "{% if %}", "é", "😀", "\u2028", "a", "word",
]  # fmt: skip
#: Strings as models write them: with tags, quotation marks, fences and line breaks.
STRINGS = st.text(max_size=12) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
WORDS = st.lists(st.from_regex(r"[A-Za-zäöü]{1,8}", fullmatch=True), min_size=1, max_size=4).map(" ".join)
INTEGERS = st.integers() | st.integers(-(10**40), 10**40)
NUMBERS = INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
ENUM = [1, "1", "a", True, None, "None", 2.5, "two words"]


def _values(strings: st.SearchStrategy[str]) -> dict[str, tuple[dict[str, Any], st.SearchStrategy[Any]]]:
    """A schema and the values it allows, by name."""
    anything = st.recursive(
        st.none() | st.booleans() | NUMBERS | strings,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=6,
    )
    return {
        "string": ({"type": "string"}, strings),
        "integer": ({"type": "integer"}, INTEGERS),
        "number": ({"type": "number"}, NUMBERS),
        "boolean": ({"type": "boolean"}, st.booleans()),
        "nothing": ({"type": "null"}, st.none()),
        "maybe": ({"type": ["integer", "null"]}, st.none() | INTEGERS),
        "optional": ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, st.none() | st.booleans()),
        "referred": ({"$ref": "#/$defs/level"}, st.sampled_from(["1", "high", "True"])),
        "chosen": ({"enum": ["1", 2, "two", None]}, st.sampled_from(["1", 2, "two", None])),
        "strings": ({"type": "array", "items": {"type": "string"}}, st.lists(strings, max_size=3)),
        "flags": ({"type": "array", "items": {"type": "boolean"}}, st.lists(st.booleans(), max_size=3)),
        "object": ({"type": "object"}, st.dictionaries(NAMES, anything, max_size=3)),
        "nested": (
            {"type": "object", "properties": {"of": {"type": "array"}, "on": {"type": "boolean"}}},
            st.fixed_dictionaries({"of": st.lists(anything, max_size=3), "on": st.booleans()}),
        ),
    }


def tool_and_arguments(strings: st.SearchStrategy[str]) -> tuple[Tool, st.SearchStrategy[dict[str, Any]]]:
    """A tool with a parameter of each kind, and arguments that its schema allows."""
    values = _values(strings)
    tool = Tool.declared(
        "note",
        "Note.",
        {
            "type": "object",
            "$defs": {"level": {"enum": ["1", "high", "True"]}},
            "properties": {name: schema for name, (schema, _) in values.items()},
            "required": [],
        },
    )
    return tool, st.fixed_dictionaries({}, optional={name: allowed for name, (_, allowed) in values.items()})


#: With any strings; and with words alone, which every family can say.
HARD = tool_and_arguments(STRINGS)
PLAIN = tool_and_arguments(WORDS)


def exact(value: Any) -> str:
    """A value as JSON, which tells 1 from 1.0 and true."""
    return json.dumps(value, sort_keys=True)
