"""Reads values without quotation marks by the tool's schema.

    <parameter=code>75001</parameter>      a text where the parameter is a string, else a number
    <parameter=on>True</parameter>         a boolean where the parameter is one, else a text

A text may be read as several values: as itself, as JSON, and as Python writes a value, for some templates do
(`True`, `None`). The first that the schema allows is taken, in this order:

    1. what JSON makes of it, unless that is a string; or Python's `True`, `False` and `None`
    2. the text itself, as it stands
    3. the string that JSON makes of it, or the list or mapping that Python does

Where the schema allows none of them, or is not known, it is the first of them, unless the schema has a string; so the
validation that follows names the fault.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping

from mentor_kit.chat.calls import CallError, read_json, whole_json
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool

_WORDS: Mapping[str, Json] = {"True": True, "False": False, "None": None}
#: Longer lists and mappings are not shown to Python's own parser.
_LONGEST = 20_000


def read_bare(text: str, tool: Tool | None, key: str) -> Json:
    """The value of a tool's parameter, as the schema has it.

    Args:
        text: what the model wrote.
        tool: the one called; None if it is unknown, and the text alone decides: JSON is JSON, all else is text.
        key: the parameter's name.
    """
    readings = _readings(text)
    if len(readings) == 1:
        return text
    if tool is not None:
        for reading in readings:
            if tool.takes(key, reading):
                return reading
    types = _types(tool.parameter_schema(key) if tool is not None else None)
    return text if "string" in types and not types & _names(readings[0]) else readings[0]


def python_value(text: str) -> Json:
    """The value of a Python literal that JSON can say, too.

    Raises:
        CallError: the text is none.
    """
    if len(text) > _LONGEST:
        raise CallError(f"a value of more than {_LONGEST} characters")
    try:
        with warnings.catch_warnings(action="ignore"):
            written = json.dumps(ast.literal_eval(text.strip()), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise CallError("neither JSON nor a value of Python") from None
    return read_json(written, 0)[0]


def _readings(text: str) -> list[Json]:
    """All values that a text may stand for, in the order in which they are preferred."""
    stripped = text.strip()
    if stripped in _WORDS:
        return [_WORDS[stripped], text]
    try:
        value = whole_json(text)
        return [text, value] if isinstance(value, str) else [value, text]
    except CallError:
        if stripped[:1] + stripped[-1:] not in ("[]", "{}"):
            return [text]
    try:
        return [text, python_value(stripped)]
    except CallError:
        return [text]


def _types(schema: Json) -> set[str]:
    """Return the types that a schema names; empty if it names none."""
    if not isinstance(schema, Mapping):
        return set()
    if "enum" in schema or "const" in schema:
        allowed = schema["enum"] if isinstance(schema.get("enum"), list) else [schema.get("const")]
        return set().union(*map(_names, allowed))
    named = schema.get("type")
    found = {name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str)}
    for word in ("anyOf", "oneOf"):
        choices = schema.get(word)
        found.update(*map(_types, choices if isinstance(choices, list) else ()))
    return found


def _names(value: Json) -> set[str]:
    """What JSON schema calls a value's type."""
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int | float):
        return {"number", "integer"} if value == int(value) else {"number"}
    return {"string"} if isinstance(value, str) else {"array"} if isinstance(value, list) else {"object"}
