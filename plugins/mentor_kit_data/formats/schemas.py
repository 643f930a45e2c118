"""The tools of rows, as published data describes them, as declared tools with JSON schemas.

    {"type": "function", "function": {"name", "description", "parameters"}}     OpenAI, TRL, Hermes, Toucan
    {"name", "description", "parameters"}                                       xLAM, ToolACE, When2Call, BFCL
    {"name", "description", "inputSchema"}                                      MCP, also as input_schema

`parameters` are a JSON schema, or bare: parameters by name, without `properties`. Types are JSON schema's or a
programming language's: `str`, `int, optional`, `List[Dict[str, Any]]`, `Optional[float]`, `dict`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mentor_kit.core.data_format import DataFormatError
from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import DeclaredTool
from mentor_kit.core.tool import Tool
from mentor_kit_data.formats.values import decoded, entries, present, record, shown, string

_PARAMETERS = ("parameters", "inputSchema", "input_schema", "arguments")
_NO_NAME = re.compile(r"[^A-Za-z0-9_.\-]+")
_LONGEST_NAME = 128
#: How many tools are remembered.
_KNOWN_TOOLS = 8192

#: JSON schema's types by other names for them; None for any value.
_TYPES: dict[str, str | None] = {
    **dict.fromkeys(("string", "str", "text", "char", "date", "datetime", "enum", "bytes"), "string"),
    **dict.fromkeys(("integer", "int", "long", "short", "byte", "int32", "int64"), "integer"),
    **dict.fromkeys(("number", "float", "double", "decimal", "numeric", "complex"), "number"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("array", "list", "tuple", "set", "sequence", "iterable", "arraylist"), "array"),
    **dict.fromkeys(("object", "dict", "mapping", "map", "hashmap", "hashtable", "json"), "object"),
    **dict.fromkeys(("null", "none", "nonetype"), "null"),
    **dict.fromkeys(("any", "callable", "object | any"), None),
}
#: The types of values by JSON schema's types; a whole number is a number, and `true` is let pass as one.
_PYTHON: dict[str, Any] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": Mapping,
    "null": type(None),
}  # fmt: skip
_GENERIC = re.compile(r"([A-Za-z_.]+)\s*\[(.*)\]", re.DOTALL)
_OPTIONAL = re.compile(r"[,(]?\s*optional\)?\s*$|,?\s*default\b.*$", re.IGNORECASE | re.DOTALL)
#: Keywords whose values are schemas by name, a schema, or values.
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_INNER = ("items", "additionalProperties", "anyOf", "oneOf", "allOf", "not", "prefixItems", "contains")


def declared_tools(value: Any, column: str) -> tuple[DeclaredTool, ...]:
    """The tools in a column: a list of them, or of JSON strings, or one JSON string; equal ones are one.

    Raises:
        DataFormatError: there is no such list; a tool has no name, or parameters that are no JSON schema; two tools
            with one name differ.
    """
    value = decoded(value, column) if value not in (None, "") else []
    if isinstance(value, Mapping):
        value = [value] if "name" in value or "function" in value else _by_name(value, column)
    found: dict[str, DeclaredTool] = {}
    for index, item in enumerate(entries(value, column)):
        tool = declared_tool(item, f"{column}.{index}")
        if found.setdefault(tool.name, tool) != tool:
            raise DataFormatError(f"{column}.{index}", f"another tool is called {tool.name!r}, too")
    return tuple(found.values())


def _by_name(value: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
    return [{**record(tool, f"{column}.{name}"), "name": name} for name, tool in value.items()]


def declared_tool(value: Any, column: str) -> DeclaredTool:
    """The tool that a description declares; a tool that many rows have is read once.

    Raises:
        DataFormatError: see `declared_tools`.
    """
    try:
        return _known_tool(value if isinstance(value, str) else json.dumps(value))
    except (DataFormatError, TypeError, ValueError, RecursionError):
        return _tool(value, column)  # which names the column


@lru_cache(_KNOWN_TOOLS)
def _known_tool(text: str) -> DeclaredTool:
    return _tool(text, "")


def _tool(value: Any, column: str) -> DeclaredTool:
    value = record(present(decoded(value, column)), column)
    inner = value.get("function")
    described = record(inner, f"{column}.function") if isinstance(inner, Mapping) else value
    name = string(described.get("name"), f"{column}.name")
    key = next((key for key in _PARAMETERS if described.get(key)), "parameters")
    place = f"{column}.{key}"
    schema = parameters_schema(decoded(described.get(key) or {}, place), place, described.get("required"))
    tool = DeclaredTool(name=tool_name(name), description=_description(described), parameters=schema)
    try:
        fault = Tool.declared(tool.name, tool.description, tool.parameters).fault
    except PluginError as error:
        raise DataFormatError(f"{column}.name", error.message, hint=error.hint) from None
    if fault:
        raise DataFormatError(place, f"the parameters of {name!r} are not a JSON schema: {fault}")
    return tool


def tool_name(name: str) -> str:
    """A tool's name with `_` in place of what names may not have, such as blanks: `Get Holidays` is `Get_Holidays`."""
    return _NO_NAME.sub("_", name.strip())[:_LONGEST_NAME]


def _description(described: Mapping[str, Any]) -> str:
    value = described.get("description", "")
    return value if isinstance(value, str) else shown(value)


def parameters_schema(value: Any, column: str, required: Any = None) -> dict[str, Json]:
    """The JSON schema of a tool's parameters.

    Args:
        value: a JSON schema of an object, with types of any language; or bare, parameters by name.
        column: for messages.
        required: the names of the required parameters, where they stand beside a schema that has none.

    Raises:
        DataFormatError: it is neither.
    """
    if isinstance(value, list):  # parameters one after another, each with its name
        value = {
            string(record(item, f"{column}.{index}").get("name"), f"{column}.{index}.name"): {
                key: inner for key, inner in item.items() if key != "name"
            }
            for index, item in enumerate(value)
        }
    described = record(value, column)
    names = required if isinstance(required, list) else []
    if not _is_schema(described):
        return _bare(described, names)
    whole = {**described, "type": "object"}
    whole.setdefault("properties", {})
    schema: dict[str, Json] = json_schema(whole)
    if names and "required" not in schema:
        schema["required"] = [name for name in names if name in schema["properties"]]
    return schema


def _is_schema(value: Mapping[str, Any]) -> bool:
    """Whether parameters are a JSON schema; a bare parameter may be called `type` or `properties`, too."""
    if isinstance(value.get("properties"), Mapping) and isinstance(value.get("type", "object"), str):
        return True
    return not value or (
        isinstance(value.get("type"), str) and _named_type(str(value["type"]))[0] == {"type": "object"}
    )


def _bare(parameters: Mapping[str, Any], required: Sequence[str]) -> dict[str, Json]:
    """The schema of parameters by name: required are those without a default that are not said to be optional."""
    properties: dict[str, Json] = {}
    needed: list[str] = []
    for name, value in parameters.items():
        described = value if isinstance(value, Mapping) else {"type": value} if _is_type(value) else _words(value)
        properties[name] = json_schema(described)
        optional = "default" in described or described.get("required") is False or _says_optional(described)
        if name in required if required else not optional:
            needed.append(name)
    return {"type": "object", "properties": properties} | ({"required": needed} if needed else {})


def _words(value: Any) -> dict[str, Any]:
    return {"description": value} if isinstance(value, str) else {"default": value}


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and _named_type(value)[2]


def _says_optional(described: Mapping[str, Any]) -> bool:
    return described.get("optional") is True or (
        isinstance(described.get("type"), str) and _named_type(described["type"])[1]
    )


def json_schema(described: Any) -> Any:
    """A description of a value as JSON schema: types of any language, `required` of a property raised to its object."""
    if not isinstance(described, Mapping):
        return described
    schema: dict[str, Json] = {}
    for key, value in described.items():
        if key == "type":
            schema.update(_typed(value))
        elif key in _BY_NAME and isinstance(value, Mapping):
            schema[key] = {name: json_schema(inner) for name, inner in value.items()}
        elif key in _INNER and isinstance(value, list):
            # a list under `items` is a tuple, as drafts before 2020 have it
            schema["prefixItems" if key == "items" else key] = [json_schema(item) for item in value]
        elif key in _INNER:
            schema[key] = json_schema(value) if not _is_type(value) else _named_type(value)[0]
        elif key == "required" and isinstance(value, list):
            schema[key] = _required(described)  # in its place: keys in another order are another prompt
        elif key not in ("required", "optional"):
            schema[key] = value
    if isinstance(schema.get("enum"), list) and not any(_fits(schema.get("type"), value) for value in schema["enum"]):
        del schema["enum"]  # such as "True" and "False" for a boolean: no value would be valid
    required = _required(described)
    return schema | ({"required": required} if required else {})


def _fits(kind: Any, value: Json) -> bool:
    """Whether a value is of one of JSON schema's types; any value is where none is given."""
    kinds = kind if isinstance(kind, list) else [kind]
    return kind is None or any(isinstance(value, _PYTHON.get(name, object)) for name in kinds)


def _required(described: Mapping[str, Any]) -> list[str]:
    """The names of an object's required properties: its list, and the properties that say so of themselves."""
    properties = described.get("properties")
    listed = described.get("required")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    if isinstance(properties, Mapping):
        names = [name for name in names if name in properties]
        own = [
            name for name, inner in properties.items() if isinstance(inner, Mapping) and inner.get("required") is True
        ]
        names += [name for name in own if name not in names]
    return list(dict.fromkeys(names))


def _typed(value: Any) -> dict[str, Json]:
    """What a schema says for a `type`: nothing for any type, and for one that is unknown."""
    if isinstance(value, list):
        names = [_named_type(item)[0].get("type") for item in value if isinstance(item, str)]
        return {"type": list(dict.fromkeys(names))} if names and all(isinstance(name, str) for name in names) else {}
    return _named_type(value)[0] if isinstance(value, str) else {}


def _named_type(name: str) -> tuple[dict[str, Json], bool, bool]:
    """The schema of a type's name, whether the name says that it is optional, and whether it is a type at all."""
    plain = _OPTIONAL.sub("", name.strip()).strip()
    optional = plain != name.strip() and "optional" in name.lower()
    plain = plain.removeprefix("typing.")
    if (generic := _GENERIC.fullmatch(plain)) is not None:
        schema, inner_optional, known = _generic(generic.group(1).lower().removeprefix("typing."), generic.group(2))
        return schema, optional or inner_optional, known
    if "|" in plain or " or " in plain:
        return _union(re.split(r"\s*\|\s*|\s+or\s+", plain), optional)
    if plain.lower() not in _TYPES:
        return {}, optional, False
    found = _TYPES[plain.lower()]
    return {"type": found} if found else {}, optional, True


def _generic(name: str, inside: str) -> tuple[dict[str, Json], bool, bool]:
    members = _members(inside)
    if name == "optional":
        return _union([*members, "None"], True)
    if name == "union":
        return _union(members, "None" in members)
    if name == "literal":
        values = [decoded(member.replace("'", '"'), "type") if member[:1] in "'\"" else member for member in members]
        return {"enum": values}, False, True
    outer = _TYPES.get(name)
    inner = _named_type(members[-1])[0] if members and members[-1] != "..." else {}
    if outer == "array" and name != "tuple":
        return {"type": "array"} | ({"items": inner} if inner else {}), False, True
    if outer == "object":
        return {"type": "object"} | ({"additionalProperties": inner} if inner else {}), False, True
    return ({"type": outer} if outer else {}), False, name in _TYPES


def _union(names: Sequence[str], optional: bool) -> tuple[dict[str, Json], bool, bool]:
    found = [_named_type(name) for name in names]
    if not all(known for _, _, known in found):
        return {}, optional, False
    schemas = [schema for schema, _, _ in found]
    if len(schemas) == 1:
        return schemas[0], optional, True
    if all(set(schema) == {"type"} and isinstance(schema["type"], str) for schema in schemas):
        return {"type": list(dict.fromkeys(schema["type"] for schema in schemas))}, optional, True
    return ({"anyOf": schemas} if all(schemas) else {}), optional, True


def _members(inside: str) -> list[str]:
    """The members between brackets, separated by commas outside of inner brackets."""
    found, depth, begin = [], 0, 0
    for place, letter in enumerate(inside):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            found.append(inside[begin:place].strip())
            begin = place + 1
    return [*found, inside[begin:].strip()] if inside.strip() else []
