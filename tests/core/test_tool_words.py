"""Tools: schemas from signatures and docstrings, checks of arguments, and boxes of tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from mentor_kit.core.conversation import CallState, ToolCall, call
from mentor_kit.core.errors import PluginError
from mentor_kit.core.task import DeclaredTool, Problem
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import FunctionTools, Toolbox, check_call

PROBLEM = Problem(id="p", question="?", answer="!")


def convert(amount: float, unit: Literal["m", "ft"] = "m", places: int | None = None, tags: list[str] = []) -> str:  # noqa: B006
    """Convert a length
    to another unit.

    A second paragraph is for people.

    Args:
        amount: How much,
            in the other unit.
        unit (str): What to convert to.

    Returns:
        A text.
    """
    return f"{amount}{unit}{places}{tags}"


def test_the_schema_comes_from_signature_and_docstring() -> None:
    tool = Tool.from_function(convert)
    assert tool.schema == {
        "type": "function",
        "function": {
            "name": "convert",
            "description": "Convert a length to another unit.",
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "required": ["amount"],
                "properties": {
                    "amount": {"type": "number", "description": "How much, in the other unit."},
                    "unit": {"type": "string", "enum": ["m", "ft"], "default": "m",
                             "description": "What to convert to."},
                    "places": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                    "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                },
            },
        },
    }  # fmt: skip


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    title: str
    x: int


def test_titles_are_dropped_but_parameters_called_title_stay() -> None:
    def draw(title: str, at: Point, colour: Colour, label: dict[str, str] = {"title": "t"}) -> None:  # noqa: B006
        """Draw."""

    parameters = Tool.from_function(draw).parameters
    assert parameters["properties"]["title"] == {"type": "string"}
    assert parameters["properties"]["label"]["default"] == {"title": "t"}
    assert "title" not in parameters["$defs"]["Point"]
    assert set(parameters["$defs"]["Point"]["properties"]) == {"title", "x"}
    tool = Tool.from_function(draw)
    assert tool.check({"title": "t", "at": {"title": "p", "x": 1}, "colour": "red"}) == ""
    assert tool.check({"title": "t", "at": {"title": "p", "x": "1"}, "colour": "red"}).startswith("at.x: ")


def test_fields_of_annotated_parameters_count() -> None:
    def roll(sides: Annotated[int, Field(ge=2, description="How many.")] = 6) -> None:
        """Roll."""

    wanted = {"type": "integer", "minimum": 2, "default": 6, "description": "How many."}
    assert Tool.from_function(roll).parameters["properties"] == {"sides": wanted}


@pytest.mark.parametrize("name", ["schema", "json", "copy", "model_config", "model_validate", "self", "_x", "p1"])
def test_any_parameter_name_is_taken_as_it_is(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def f({name}: int, p0: str): ...", space)
    parameters = Tool.from_function(space["f"]).parameters
    assert parameters["properties"] == {name: {"type": "integer"}, "p0": {"type": "string"}}
    assert parameters["required"] == [name, "p0"]


def _positional(a: int, /) -> None: ...
def _many(*a: int) -> None: ...
def _named(**a: int) -> None: ...
def _bare(a) -> None: ...  # type: ignore[no-untyped-def]
def _lost(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def _inexpressible(a: type[int] | memoryview) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_positional, "'a' cannot be passed by name"),
        (_many, "'a' cannot be passed by name"),
        (_named, "'a' cannot be passed by name"),
        (_bare, "'a' has no type annotation"),
        (_lost, "tool _lost: its signature cannot be read: name 'Nowhere'"),
        (_inexpressible, "has no JSON schema"),
        (max, "tool max: its signature cannot be read"),
    ],
)
def test_functions_that_are_no_tools(function: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        Tool.from_function(function)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["", "a b", "é", "a" * 129, "x\n"])
def test_names_that_are_no_names(name: str) -> None:
    with pytest.raises(PluginError, match="cannot be called"):
        Tool.declared(name, "", {})


# ---------------------------------------------------------------- check()

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["m", "ft", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["amount", "unit", "places", "tags", "more"]), JSON, max_size=4)


def fits(arguments: Mapping[str, Any]) -> bool:
    """`convert`'s schema by hand: JSON knows one kind of number, in which 2.0 is whole, and true is none."""

    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    checks = {
        "amount": number,
        "unit": lambda v: v in ("m", "ft"),
        "places": lambda v: v is None or (number(v) and v == int(v)),
        "tags": lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v),
    }
    return "amount" in arguments and all(name in checks and checks[name](v) for name, v in arguments.items())


@given(ARGUMENTS)
def test_arguments_are_checked_against_the_schema(arguments: dict[str, Any]) -> None:
    tools = {"convert": Tool.from_function(convert)}
    reason = tools["convert"].check(arguments)
    assert (reason == "") == fits(arguments)
    assert "\n" not in reason
    assert len(reason) < 260
    checked = check_call(call("convert", **arguments), tools)
    assert checked.state is (CallState.VALID if fits(arguments) else CallState.INVALID_ARGUMENTS)
    assert checked.error == reason


@pytest.mark.parametrize("broken", [{"type": "dict"}, {"$ref": "#/nowhere"}, {"pattern": "("}])
def test_a_broken_schema_is_the_tools_fault(broken: dict[str, Any]) -> None:
    tool = Tool.declared("lookup", "", {"type": "object", "properties": {"a": broken}})
    with pytest.raises(PluginError, match="'lookup'"):
        tool.check({"a": "1"})


def test_a_number_too_large_to_check_is_the_calls_fault() -> None:
    cents = {"type": "number", "multipleOf": 0.01}
    tool = Tool.declared("pay", "", {"type": "object", "properties": {"amount": cents}})
    found = check_call(call("pay", amount=10**310), {"pay": tool})
    assert (found.state, found.error) == (CallState.INVALID_ARGUMENTS, "a number is too large")


TOOLS = {"convert": Tool.from_function(convert)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (call("convert", amount=1), CallState.VALID),
        (call("convert", amount="1"), CallState.INVALID_ARGUMENTS),
        (call("conver", amount=1), CallState.UNKNOWN_TOOL),
        (call(""), CallState.UNKNOWN_TOOL),
        (ToolCall(state=CallState.MALFORMED, error="e"), CallState.MALFORMED),
        (ToolCall(name="convert", state=CallState.MALFORMED, error="e"), CallState.MALFORMED),
        (ToolCall(name="calculator", state=CallState.MALFORMED, error="e"), CallState.UNKNOWN_TOOL),
        (call("convert").at(CallState.EXECUTED), CallState.EXECUTED),
        (call("nothing").at(CallState.FAILED), CallState.FAILED),
    ],
)
def test_states_of_calls(before: ToolCall, after: CallState) -> None:
    assert check_call(before, TOOLS).state is after


def test_an_unknown_tool_gets_a_suggestion() -> None:
    found = check_call(call("convrt"), TOOLS)
    assert found.state is CallState.UNKNOWN_TOOL
    assert "'convrt'" in found.error
    assert "'convert'" in found.error


# ---------------------------------------------------------------- sources and boxes


class Counter:
    """A source with state: counts its own calls, and records when sessions close."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return [Tool.declared(self.name, "", {"type": "object"})]

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[Any]:
        class Session:
            count = seed

            async def call(self, name: str, arguments: Mapping[str, Any]) -> int:
                self.count += 1
                return self.count

        self.log.append(f"open {self.name}")
        try:
            yield Session()
        finally:
            self.log.append(f"close {self.name}")


def test_a_box_routes_calls_to_sessions_of_their_own_and_closes_them_in_reverse() -> None:
    log: list[str] = []
    box = Toolbox([Counter("a", log), Counter("b", log), FunctionTools([convert])])

    async def episode() -> list[Any]:
        async with box.open(PROBLEM, 10) as session:
            names = ["a", "a", "b"]
            return [await session.call(name, {}) for name in names] + [await session.call("convert", {"amount": 1})]

    assert asyncio.run(episode()) == [11, 12, 11, "1mNone[]"]
    assert asyncio.run(episode())[0] == 11
    assert log[:4] == ["open a", "open b", "close b", "close a"]


def test_a_problems_own_tools_come_last_and_are_never_run() -> None:
    problem = PROBLEM.model_copy(update={"tools": (DeclaredTool(name="book"),)})
    box = Toolbox([FunctionTools([convert])])
    assert list(box.tools(problem)) == ["convert", "book"]

    async def episode() -> None:
        async with box.open(problem, 0) as session:
            await session.call("book", {})

    with pytest.raises(ToolError, match="book"):
        asyncio.run(episode())


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(PluginError, match="problem 'p' has two tools called 'convert'"):
        Toolbox([FunctionTools([convert]), FunctionTools([convert])]).tools(PROBLEM)


def test_async_functions_are_awaited() -> None:
    async def later(n: int) -> int:
        """Later."""
        return n + 1

    async def episode() -> Any:
        async with FunctionTools([later]).open(PROBLEM, 0) as session:
            return await session.call("later", {"n": 1})

    assert asyncio.run(episode()) == 2
