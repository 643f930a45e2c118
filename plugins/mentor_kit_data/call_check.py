"""Compares calls by the rules of BFCL's syntax-tree checker (Patil et al., ICML 2025; bfcl-eval, `ast_checker`).

    the same number of calls, in any order; for each pair
        the same tool; the required parameters; none that the right call does not have; every value alike
    values are alike
        strings without upper case, blanks and , . / - _ * ^, with " for '
        numbers by value; an int counts as a float where the schema has a number, and never the other way round
        true and false, null as they are; lists item by item, records key by key

One right call stands for BFCL's lists of possible values, so a parameter at its schema's default may be left out, and
may be given where the right call leaves it out. Strings are compared like this at every depth; BFCL goes one level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.frozen_model import Json

#: The schemas of tools' parameters by name.
Schemas = Mapping[str, Mapping[str, Json]]

_IGNORED = re.compile(r"[ ,./\-_*^]")


def same_calls(found: Sequence[ToolCall], right: Sequence[ToolCall], schemas: Schemas) -> bool:
    """Whether calls are the right ones, in any order.

    Args:
        found: the student's calls.
        right: the right calls; none where nothing is to be called.
        schemas: of the tools' parameters, by the tools' names.
    """
    if len(found) != len(right):
        return False
    left = list(found)
    for wanted in right:
        index = next((i for i, call in enumerate(left) if same_call(call, wanted, schemas.get(wanted.name, {}))), None)
        if index is None:
            return False
        del left[index]
    return True


def same_call(found: ToolCall, right: ToolCall, schema: Mapping[str, Json]) -> bool:
    """Whether a call is the right one; `schema` is of the tool's parameters, empty where it is not known."""
    if found.name != right.name:
        return False
    properties = schema.get("properties")
    known: Mapping[str, Json] = properties if isinstance(properties, Mapping) else {}
    # a right call without a required parameter, which some data has, is right as it is
    if any(name in right.arguments and name not in found.arguments for name in schema.get("required") or ()):
        return False
    given = all(
        _same(value, right.arguments[name], known.get(name))
        if name in right.arguments
        else _is_default(value, known, name)
        for name, value in found.arguments.items()
    )
    left_out = (name for name in right.arguments if name not in found.arguments)
    return given and all(_is_default(right.arguments[name], known, name) for name in left_out)


def _is_default(value: Json, properties: Mapping[str, Json], name: str) -> bool:
    schema = properties.get(name)
    return isinstance(schema, Mapping) and "default" in schema and _same(value, schema["default"], schema)


def _same(value: Json, right: Json, schema: Any) -> bool:
    if isinstance(value, bool) or isinstance(right, bool):
        return value is right
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(value, int | float) and isinstance(right, int | float):
        return value == right and not (kind == "integer" and isinstance(value, float))
    if isinstance(value, str) and isinstance(right, str):
        # a string where the schema has another type stands for something, such as a variable, and is compared as it is
        words = kind is None or "string" in (kind if isinstance(kind, list) else [kind])
        return standard(value) == standard(right) if words else value == right
    if isinstance(value, list) and isinstance(right, list):
        inner = schema.get("items") if isinstance(schema, Mapping) else None
        return len(value) == len(right) and all(_same(a, b, inner) for a, b in zip(value, right, strict=True))
    if isinstance(value, Mapping) and isinstance(right, Mapping):
        inner = schema.get("properties") if isinstance(schema, Mapping) else None
        known = inner if isinstance(inner, Mapping) else {}
        return value.keys() == right.keys() and all(_same(value[key], right[key], known.get(key)) for key in value)
    return value is None and right is None


def standard(text: str) -> str:
    """A string as BFCL compares it: lower case, without blanks and some punctuation, with double quotation marks.

    Example:
        >>> standard("April 1, 2024") == standard("april 1 2024")
        True
    """
    return _IGNORED.sub("", text).lower().replace("'", '"')
