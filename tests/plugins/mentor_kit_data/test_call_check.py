"""Calls are compared as bfcl-eval's own checker compares them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_data.call_check import same_call, same_calls
from mentor_kit_data.formats.schemas import declared_tool

from mentor_kit.core.conversation import ToolCall, call
from mentor_kit.core.task import Problem

package = pytest.importorskip("mentor_kit_bfcl.package")
needs_bfcl = pytest.mark.skipif(bool(package.missing()), reason="bfcl-eval is not installed")

LETTERS = st.text("aB ,./-_*^'x1", min_size=1, max_size=5).map(lambda text: f"w{text}")
WHOLE = st.integers(-3, 3)
REAL = st.sampled_from([-1.5, 0.5, 2.0])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": LETTERS,
    "integer": WHOLE,
    "float": REAL | WHOLE,
    "boolean": st.booleans(),
    "array of string": st.lists(LETTERS, min_size=1, max_size=3),
    "array of integer": st.lists(WHOLE, min_size=1, max_size=3),
    "dict": st.dictionaries(st.sampled_from("kl"), LETTERS, min_size=1),
}


@st.composite
def functions(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """BFCL's description of a function, right arguments, and others that are often nearly the same."""
    kinds = draw(st.dictionaries(st.sampled_from("pqr"), st.sampled_from(sorted(VALUES)), min_size=1))
    properties: dict[str, Any] = {}
    right: dict[str, Any] = {}
    other: dict[str, Any] = {}
    required = []
    for name, kind in kinds.items():
        outer, _, inner = kind.partition(" of ")
        properties[name] = {"type": outer} | ({"items": {"type": inner}} if inner else {})
        if draw(st.booleans()):
            properties[name]["default"] = draw(VALUES[kind])
        else:
            required.append(name)
        if name in required or draw(st.booleans()):
            at_default = name not in required and draw(st.booleans())
            right[name] = properties[name]["default"] if at_default else draw(VALUES[kind])
        if name in right and draw(st.booleans()):
            other[name] = draw(nearly(right[name]))
        elif draw(st.booleans()):
            other[name] = draw(st.one_of(*VALUES.values()))
    parameters = {"type": "dict", "properties": properties, "required": required}
    return {"name": "f", "description": "", "parameters": parameters}, right, other


def nearly(value: Any) -> st.SearchStrategy[Any]:
    """The value, or one that differs in case, in punctuation, or in its type."""
    if isinstance(value, str):
        return st.sampled_from([value, value.upper(), value.replace(" ", ""), value.replace("'", '"'), f"{value}2"])
    if isinstance(value, list) and value:
        return st.sampled_from([value, value[::-1], value[1:] or value, [*value, value[0]]]) | st.just(
            [item.upper() if isinstance(item, str) else item for item in value]
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        return st.sampled_from([value, float(value), str(value), value + 1])
    return st.just(value)


def bfcl_says(description: Mapping[str, Any], right: Sequence[ToolCall], found: Sequence[ToolCall]) -> bool:
    """The verdict of bfcl-eval, whose gold answers list what every parameter may be; "" is for left out."""
    defaults = {n: p["default"] for n, p in description["parameters"]["properties"].items() if "default" in p}
    gold = [{one.name: _possible(one.arguments, defaults)} for one in right]
    checker = package.ast_checker()
    verdict = checker.ast_checker(
        [json.loads(json.dumps(description))],
        [{one.name: one.arguments} for one in found],
        gold,
        checker.Language.PYTHON,
        "parallel",
        package.DOTS,
    )
    return bool(verdict["valid"])


def _possible(arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, list[Any]]:
    found = {name: [_listed(value)] for name, value in arguments.items()}
    for name, default in defaults.items():
        if name not in arguments:
            found[name] = [_listed(default), ""]
        elif same_call(call("f", v=arguments[name]), call("f", v=default), {"properties": {"v": {}}}):
            found[name].append("")
    return found


def _listed(value: Any) -> Any:
    """Records list what each of their keys may be."""
    return {key: [item] for key, item in value.items()} if isinstance(value, dict) else value


@needs_bfcl
@given(functions(), st.booleans())
def test_the_verdict_is_that_of_bfcls_checker(case: tuple[dict[str, Any], Any, Any], shuffled: bool):
    description, right_arguments, found_arguments = case
    schemas = {"f": declared_tool(description, "tools.0").parameters}
    right = ToolCall(name="f", arguments=right_arguments)
    found = ToolCall(name="f", arguments=found_arguments)
    assert same_calls([right], [right], schemas)
    assert bfcl_says(description, [right], [right])
    pairs = [found, right] if shuffled else [right, found]
    for calls, gold in (([found], [right]), (pairs, [right, right]), ([], [right])):
        try:
            wanted = bfcl_says(description, gold, calls)
        except (AttributeError, KeyError, TypeError, IndexError):
            continue  # its checker cannot compare such values
        assert same_calls(calls, gold, schemas) is wanted, (description, gold, calls)


@needs_bfcl
@pytest.mark.spread(2)
@pytest.mark.parametrize("category", ["simple_python", "live_multiple", "parallel", "multiple", "live_parallel"])
def test_every_function_of_bfcl_is_read_and_its_right_calls_are_right(category: str):
    from mentor_kit_bfcl import problems
    from mentor_kit_bfcl.gold import gold_calls
    from mentor_kit_bfcl.verdicts import is_right

    for problem in problems.read(category, dots=True):
        tools = [declared_tool(function, "tools.0") for function in problem.extra["functions"]]
        schemas = {tool.name: tool.parameters for tool in tools}
        right = gold_calls(problem, dots=True)
        assert same_calls(right[::-1], right, schemas)

        # some of its gold calls are wrong by its own checker
        def verdict(calls: Sequence[ToolCall], problem: Problem = problem) -> bool:
            return is_right([{one.name: one.arguments} for one in calls], problem, dots=True)

        for changed in _changes(right, schemas):
            if same_calls(changed, right, schemas) and verdict(right):
                assert verdict(changed), problem.id
        assert not same_calls(right[1:], right, schemas)
        assert not same_calls([*right, right[0]], right, schemas)


def _changes(right: Sequence[ToolCall], schemas: Mapping[str, Any]) -> list[list[ToolCall]]:
    """Calls with one string in capitals, or without one argument that has no default."""
    found = []
    for index, one in enumerate(right):
        for name, value in one.arguments.items():
            changed = {key: other for key, other in one.arguments.items() if key != name}
            if isinstance(value, str) and value:
                changed[name] = value.upper()
            elif "default" in schemas[one.name]["properties"][name]:
                continue
            found.append([*right[:index], ToolCall(name=one.name, arguments=changed), *right[index + 1 :]])
    return found


def test_nothing_to_call_is_right_only_without_calls():
    assert same_calls([], [], {})
    assert not same_calls([call("f")], [], {})
    assert not same_calls([], [call("f")], {})


@pytest.mark.parametrize(
    ("value", "right", "same"),
    [
        ("April 1, 2024", "april 1 2024", True),
        ("it's", 'it"s', True),
        (True, 1, False),
        (0, False, False),
        (None, None, True),
        (None, "", False),
        ([1, [" A"]], [1.0, ["a"]], True),
        ({"a": {"b": "X"}}, {"a": {"b": "x"}}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("5", 5, False),
    ],
)
def test_values(value: Any, right: Any, same: bool):
    assert same_call(call("f", v=value), call("f", v=right), {}) is same


def test_a_whole_number_is_wanted_where_the_schema_has_one():
    schema = {"properties": {"n": {"type": "integer"}, "x": {"type": "number"}}}
    assert not same_call(call("f", n=2.0), call("f", n=2), schema)
    assert same_call(call("f", x=2), call("f", x=2.0), schema)
