"""Descriptions of tools as data sets write them become JSON schemas that say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_data.formats.schemas import declared_tools, json_schema, parameters_schema, tool_name

from mentor_kit.core.data_format import DataFormatError
from mentor_kit.core.tool import Tool

KEYS = st.sampled_from(
    ["type", "properties", "items", "required", "default", "enum", "name", "description", "parameters", "function"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("str", {"type": "string"}),
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("dict", {"type": "object"}),
        ("bool", {"type": "boolean"}),
        ("list", {"type": "array"}),
        ("tuple", {"type": "array"}),
        ("any", {}),
        ("Any", {}),
        ("int, optional", {"type": "integer"}),
        ("str (optional)", {"type": "string"}),
        ("str, default is 5", {"type": "string"}),
        ("List[str]", {"type": "array", "items": {"type": "string"}}),
        ("typing.List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("list[dict]", {"type": "array", "items": {"type": "object"}}),
        ("List[List[float]], optional", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        ("Dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("Dict[str, Any]", {"type": "object"}),
        ("Tuple[int, str]", {"type": "array"}),
        ("Optional[str]", {"type": ["string", "null"]}),
        ("Union[int, float]", {"type": ["integer", "number"]}),
        ("int | None", {"type": ["integer", "null"]}),
        ("str or int", {"type": ["string", "integer"]}),
        ("Literal['a', 'b']", {"enum": ["a", "b"]}),
        ("Callable[[float], float]", {}),
        ("set", {"type": "array"}),
        ("unheard of", {}),
        (["string", "null"], {"type": ["string", "null"]}),
    ],
)
def test_types_of_other_languages(written: Any, schema: dict[str, Any]):
    assert json_schema({"type": written}) == schema


def test_bare_parameters_are_required_where_nothing_says_otherwise():
    found = parameters_schema(
        {
            "city": {"type": "str", "description": "the city"},
            "days": {"type": "int, optional", "description": "how many"},
            "unit": {"type": "str", "description": "C or F", "default": "C"},
            "type": {"type": "str", "description": "a parameter called type"},
            "zip": "the postal code",
            "exact": "bool",
        },
        "parameters",
    )
    assert found["type"] == "object"
    assert set(found["properties"]) == {"city", "days", "unit", "type", "zip", "exact"}
    assert found["required"] == ["city", "type", "zip", "exact"]
    assert found["properties"]["zip"] == {"description": "the postal code"}
    assert found["properties"]["exact"] == {"type": "boolean"}
    assert found["properties"]["unit"]["default"] == "C"


@pytest.mark.parametrize(
    ("described", "required"),
    [
        ({"type": "dict", "properties": {"a": {"type": "str"}, "b": {"type": "str"}}, "required": ["a"]}, ["a"]),
        ({"properties": {"a": {"type": "str", "required": True}, "b": {"type": "str", "required": False}}}, ["a"]),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "absent"]}, ["a"]),
        ({"a": {"type": "str", "required": True}, "b": {"type": "str", "required": False}}, ["a"]),
        ([{"name": "a", "type": "str"}, {"name": "b", "type": "str", "default": ""}], ["a"]),
    ],
)
def test_required_parameters_wherever_they_are_said_to_be(described: Any, required: list[str]):
    found = parameters_schema(described, "parameters")
    assert (set(found["properties"]), found["required"]) == ({"a", "b"}, required)


@pytest.mark.parametrize("empty", [None, {}, "", {"type": "object"}, {"type": "dict", "properties": {}}])
def test_a_tool_without_parameters(empty: Any):
    (tool,) = declared_tools([{"name": "now", "parameters": empty}], "tools")
    assert tool.parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize("wrap", [lambda tool: tool, json.dumps, lambda tool: {"type": "function", "function": tool}])
@pytest.mark.parametrize("whole", [lambda tools: tools, json.dumps])
@pytest.mark.parametrize("key", ["parameters", "inputSchema", "input_schema"])
def test_all_ways_of_packing_a_tool(wrap: Any, whole: Any, key: str):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    (tool,) = declared_tools(whole([wrap({"name": "f", "description": "d", key: schema})]), "tools")
    assert (tool.name, tool.description, tool.parameters) == ("f", "d", schema)


def test_names_that_tools_may_not_have():
    assert tool_name("Get Holidays by Country") == "Get_Holidays_by_Country"
    assert tool_name("a.b-c_d") == "a.b-c_d"
    assert len(tool_name("x" * 500)) == 128
    with pytest.raises(DataFormatError):
        declared_tools([{"name": "  "}], "tools")


def test_equal_tools_are_one_and_different_ones_of_a_name_are_a_fault():
    tool = {"name": "f", "parameters": {"a": {"type": "int"}}}
    assert len(declared_tools([tool, tool], "tools")) == 1
    with pytest.raises(DataFormatError) as caught:
        declared_tools([tool, {"name": "f", "parameters": {"b": {"type": "int"}}}], "tools")
    assert caught.value.column == "tools.1"


def test_values_that_no_schema_could_allow_do_not_limit():
    assert json_schema({"type": "boolean", "enum": ["True", "False"]}) == {"type": "boolean"}
    assert json_schema({"type": "integer", "enum": [1, "x"]}) == {"type": "integer", "enum": [1, "x"]}


@given(st.lists(JSON, max_size=3) | JSON)
def test_any_json_is_tools_or_a_named_fault(value: Any):
    try:
        tools = declared_tools(value, "tools")
    except DataFormatError as error:
        tools, column = (), error.column
    else:
        column = "tools"
    assert column.startswith("tools")
    for tool in tools:
        assert Tool.declared(tool.name, tool.description, tool.parameters).fault == ""


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}", fullmatch=True),
        st.sampled_from(["string", "integer", "number", "boolean", "array", "object"]).map(lambda kind: {"type": kind}),
        min_size=1,
    ),
    st.data(),
)
def test_json_schemas_stay_as_they_are(properties: dict[str, Any], data: st.DataObject):
    required = data.draw(st.lists(st.sampled_from(sorted(properties)), unique=True, min_size=1))
    schema = {"type": "object", "properties": properties, "required": required}
    assert parameters_schema(schema, "parameters") == schema


@pytest.mark.parametrize("described", [{"type": "object", "required": ["city"]}, {"type": "dict", "required": ["a"]}])
def test_a_schema_that_was_read_is_read_as_itself(described: dict[str, Any]):
    once = parameters_schema(described, "tools")
    assert parameters_schema(once, "tools") == once
    assert (once["properties"], once.get("required", [])) == ({}, [])
