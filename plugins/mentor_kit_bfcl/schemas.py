"""Converts BFCL's descriptions of functions, with types of three languages, to tools with JSON schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import DeclaredTool

#: JSON schema's types by BFCL's names; others are strings.
_TYPES = {
    **dict.fromkeys(("integer", "byte", "short", "long"), "integer"),
    **dict.fromkeys(("number", "float", "double"), "number"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("array", "list", "tuple", "Array", "ArrayList", "Queue", "Stack", "Set"), "array"),
    **dict.fromkeys(("dict", "object", "HashMap", "Hashtable"), "object"),
}
_KEPT = ("description", "default", "enum", "format", "maximum", "minimum", "minItems", "maxItems")
_LANGUAGES = {"simple_java": "Java 8 SDK", "simple_javascript": "JavaScript"}


def declared(function: Mapping[str, Any], category: str, *, dots: bool) -> DeclaredTool:
    """The tool of a function's description, with the hint at its language that BFCL gives to every model."""
    language = _LANGUAGES.get(category, "Python 3")
    hint = f" Note that the provided function is in {language} syntax."
    parameters = function["parameters"]
    schema = as_texts(parameters, language) if category in _LANGUAGES else json_schema(parameters)
    return DeclaredTool(
        name=function["name"] if dots else re.sub(r"\.", "_", function["name"]),
        description=function["description"] + hint,
        parameters=schema,
    )


def json_schema(described: Mapping[str, Any]) -> dict[str, Json]:
    """A description of a value as JSON schema."""
    schema: dict[str, Json] = {name: described[name] for name in _KEPT if name in described}
    if described.get("type"):
        schema["type"] = _TYPES.get(described["type"], "string")
    if isinstance(described.get("properties"), Mapping):
        schema["properties"] = {name: json_schema(value) for name, value in described["properties"].items()}
    if isinstance(described.get("items"), Mapping):
        schema["items"] = json_schema(described["items"])
    if isinstance(described.get("required"), list) and described["required"]:
        schema["required"] = described["required"]
    return schema


def as_texts(described: Mapping[str, Any], language: str) -> dict[str, Json]:
    """Parameters of another language, as BFCL asks for them: written out as texts in that language."""
    short = language.split()[0]
    properties = {}
    for name, value in described["properties"].items():
        kind = value["type"]
        description = value.get("description", "")
        description += (
            f" This parameter can be of any type of {short} object in string representation."
            if kind == "any"
            else f" This is {short} {kind} type parameter in string representation."
        )
        if "items" in value:
            description += (
                f" The list elements are of type {value['items']['type']}; they are not in string representation."
            )
        properties[name] = {"type": "string", "description": description}
    required = described.get("required") or []
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})
