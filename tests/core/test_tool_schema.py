"""Schemas of tools: each by its own dialect, its references inside, its patterns readable."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from mentor_kit.core.errors import PluginError
from mentor_kit.core.task import DeclaredTool, Problem
from mentor_kit.core.tool import Tool
from mentor_kit.core.tool_schema import argument_fault, schema_fault, without_nulls
from mentor_kit.core.toolbox import Toolbox

DRAFT_4, DRAFT_7 = "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#"


def of(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, **more}


GOOD: dict[str, tuple[Any, Any, Any]] = {
    "plain": (of({"type": "number"}), 1, "x"),
    "inner reference": (of({"$ref": "#/$defs/N"}, **{"$defs": {"N": {"type": "number"}}}), 1, "x"),
    "anchor": (of({"$ref": "#N"}, **{"$defs": {"N": {"$anchor": "N", "type": "number"}}}), 1, "x"),
    "own address": (
        of({"$ref": "t.json#/$defs/N"}, **{"$id": "https://x/t.json", "$defs": {"N": {"type": "number"}}}),
        1,
        "x",
    ),
    "elsewhere in the schema": (of({"$ref": "#/x/N"}, x={"N": {"type": "number"}}), 1, "x"),
    "recursive": (
        of({"$ref": "#/$defs/T"}, **{"$defs": {"T": {"type": "array", "items": {"$ref": "#/$defs/T"}}}}),
        [[]],
        [1],
    ),
    "draft 7 tuple": (of({"items": [{"type": "number"}]}, **{"$schema": DRAFT_7}), [1], ["x"]),
    "undeclared tuple": (of({"items": [{"type": "number"}]}), [1], ["x"]),
    "draft 4 bound": (of({"minimum": 1, "exclusiveMinimum": True}, **{"$schema": DRAFT_4}), 2, 1),
    "newest": (of({"prefixItems": [{"type": "number"}]}, **{"$schema": "http://json-schema.org/schema#"}), [1], ["x"]),
    "property": (of({"pattern": r"^\p{L}+$"}), "ä", "1"),
    "property of keys": (of({"patternProperties": {r"^\p{Lu}$": {"type": "number"}}}), {"Ä": 1}, {"Ä": "x"}),
    "property called pattern": (
        of({"type": "object", "properties": {"pattern": {"type": "number"}}}),
        {"pattern": 1},
        {"pattern": "("},
    ),
    "a default that looks like a schema": (
        of({"type": "number", "default": {"$ref": "#/nowhere", "pattern": "("}}),
        1,
        "x",
    ),
    "a value called $ref": (of({"const": {"$ref": "#/nowhere"}}), {"$ref": "#/nowhere"}, 1),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_schema_is_read_by_its_own_dialect(kind: str) -> None:
    schema, right, wrong = GOOD[kind]
    assert schema_fault(schema) == ""
    assert argument_fault(schema, {"a": right}) == ""
    assert argument_fault(schema, {"a": wrong}) != ""


BAD: dict[str, tuple[Any, str]] = {
    "none": (None, ""),
    "true": (True, ""),
    "list": ([], ""),
    "empty": ({}, "type"),
    "string": ({"type": "string"}, "type"),
    "union": ({"type": ["object", "null"]}, "type"),
    "required null": (of({}, required=None), "required"),
    "required string": (of({}, required="a"), "required"),
    "properties list": ({"type": "object", "properties": []}, "properties"),
    "unknown type": (of({"type": "dict"}), "properties.a.type"),
    "dangling": (of({"$ref": "#/$defs/N"}), "properties.a.$ref"),
    "dangling anchor": (of({"$ref": "#N"}), "properties.a.$ref"),
    "remote": (of({"$ref": "https://example.com/n.json"}), "properties.a.$ref"),
    "file": (of({"$ref": "file:///etc/passwd"}), "properties.a.$ref"),
    "to no schema": (of({"$ref": "#/x"}, x=1), "properties.a.$ref"),
    "circle": (of({"$ref": "#/properties/a"}), "circle"),
    "circle of two": (of({"allOf": [{"$ref": "#/$defs/x"}]}, **{"$defs": {"x": {"$ref": "#/properties/a"}}}), "circle"),
    "pattern": (of({"pattern": "("}), "properties.a.pattern"),
    "pattern of keys": (of({"patternProperties": {"[": {}}}), "properties.a.patternProperties"),
    "pattern behind a reference": (of({"$ref": "#/x/N"}, x={"N": {"pattern": "("}}), "properties.a.$ref"),
    "dialect": (of({}, **{"$schema": "https://example.com/mine"}), "$schema"),
    "multiple of 0": (of({"multipleOf": 0}), "properties.a.multipleOf"),
    "no JSON": (of({"const": {1, 2}}), "JSON"),
    "draft 4 said, draft 6 meant": (
        of({"exclusiveMinimum": 1}, **{"$schema": DRAFT_4}),
        "properties.a.exclusiveMinimum",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_schema_is_named_with_its_place(kind: str) -> None:
    schema, place = BAD[kind]
    fault = schema_fault(schema)
    assert fault
    assert place in fault
    assert "\n" not in fault


@pytest.mark.parametrize("kind", BAD)
def test_a_box_refuses_it_when_tools_are_listed(kind: str) -> None:
    class Source:
        def tools(self, problem: Problem) -> list[Tool]:
            return [Tool("fine", "", of({})), Tool("broken", "", BAD[kind][0])]

    with pytest.raises(PluginError) as caught:
        Toolbox([Source()], ["tools.0 (theirs)"]).tools(Problem(id="p", question="?", answer=""))  # type: ignore[list-item]
    assert "tools.0 (theirs)" in caught.value.message
    assert "'broken'" in caught.value.message


def test_a_problems_own_tools_are_looked_at_too() -> None:
    problem = Problem(
        id="p", question="?", answer="", tools=(DeclaredTool(name="own", parameters=of({"pattern": "("})),)
    )
    with pytest.raises(PluginError) as caught:
        Toolbox().tools(problem)
    assert "'own'" in caught.value.message


@pytest.mark.parametrize("given", [None, [1], [print], "tools", 5])
def test_a_source_that_gives_something_else_is_named(given: Any) -> None:
    class Source:
        def tools(self, problem: Problem) -> Any:
            return given

    with pytest.raises(PluginError) as caught:
        Toolbox([Source()], ["tools.0 (theirs)"]).tools(Problem(id="p", question="?", answer=""))  # type: ignore[list-item]
    assert "tools.0 (theirs)" in caught.value.message


def test_keywords_that_are_null_are_left_out_and_values_stay() -> None:
    schema = of({"type": "number", "description": None, "default": None, "enum": [None, 1]}, required=None)
    inner = {"type": "number", "default": None, "enum": [None, 1]}
    assert without_nulls(schema) == {"type": "object", "properties": {"a": inner}}
    assert without_nulls({"type": "object", "properties": None}) == {"type": "object"}
    assert without_nulls(of({"const": {"x": None}})) == of({"const": {"x": None}})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["object", "number", "string", "#", "#/properties/a", "a", "("]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "a", "$ref", "items", "anyOf", "not", "pattern", "required", "if"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_a_schema_without_fault_checks_any_arguments(schema: Any, value: Any) -> None:
    parameters = of(schema)
    if schema_fault(parameters):
        with pytest.raises(PluginError):
            Tool("t", "", parameters).check({"a": value})
        return
    dialects = (Draft202012Validator, Draft7Validator)
    assert bool(Tool("t", "", parameters).check({"a": value})) in {
        not d(parameters).is_valid({"a": value}) for d in dialects
    }
