"""Values that a family writes bare, without quotation marks: the tool's schema says what they are.

    <parameter=code>75001</parameter>      a text where the parameter is a string, else a number

Without the tool, what is JSON is read as JSON, and everything else is text.
"""

from __future__ import annotations

from collections.abc import Mapping

from mentor_kit.chat.calls import CallError, read_json, skip_space
from mentor_kit.record import Json
from mentor_kit.tool import Tool

#: The tools of a dialogue by name.
Tools = Mapping[str, Tool]


def read_bare(text: str, tool: Tool | None, key: str) -> Json:
    """The value of a tool's parameter, as the schema has it.

    Args:
        text: what the model wrote.
        tool: the one called; None if it is unknown, and the text alone decides: JSON is JSON, all else is text.
        key: the parameter's name.
    """
    try:
        value, end = read_json(text, 0)
    except CallError:
        return text
    if skip_space(text, end) != len(text) or isinstance(value, str):
        return text
    types = _types(_schema(tool, key))
    return text if "string" in types and not types & _names(value) else value


def _schema(tool: Tool | None, key: str) -> Json:
    properties = tool.parameters.get("properties") if tool is not None else None
    return properties.get(key) if isinstance(properties, Mapping) else None


def _types(schema: Json) -> set[str]:
    """The types a schema allows, as far as it says so itself; empty if it does not."""
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
