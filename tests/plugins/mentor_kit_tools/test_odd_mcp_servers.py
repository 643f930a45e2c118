"""The tools `mcp` with servers as they are found: endless lists, names that models may not use, broken schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_tools.names import named

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, call
from mentor_kit.core.errors import MentorKitError, PluginError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox, ToolClash
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, ComponentError, Registry
from mentor_kit.rollout import run_async
from mentor_kit.rollout.tools import cut_by_characters, run_call

pytestmark = pytest.mark.skipif(find_spec("mcp") is None, reason="mcp is not installed")

HERE = Path(__file__).parent
REGISTRY = Registry(load_plugins())
PROBLEM = Problem(id="p", question="?", answer="")
PATIENT = {"seconds": 60, "start_seconds": 120}
SAFE = re.compile(r"[a-zA-Z0-9_-]{1,64}")
NUMBERS = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}


def tool(name: str = "plus", parameters: Any = NUMBERS) -> dict[str, Any]:
    return {"name": name, "description": "Adds.", "inputSchema": parameters}


def of(schema: Any) -> dict[str, Any]:
    return tool(parameters={"type": "object", "properties": {"a": schema}})


@contextmanager
def source(*pages: dict[str, Any], **options: Any) -> Iterator[Any]:
    command = ["python", "odd_tool_server.py", json.dumps(pages)]
    spec = ComponentSpec.model_validate({"use": "mcp", "with": {"command": command, "limits": PATIENT, **options}})
    built = REGISTRY.build("tools", spec, BuildContext(REGISTRY, recipe_folder=HERE))
    try:
        yield built
    finally:
        built.close()


def names(built: Any) -> list[str]:
    return [tool.name for tool in built.tools(PROBLEM)]


def said(built: Any, name: str) -> str:
    """What the server calls the tool that the model calls by this name."""
    toolbox = Toolbox([built])

    async def episode() -> str:
        async with toolbox.open(PROBLEM, 1) as session:
            done, result = await run_call(
                call(name, a=1), toolbox.tools(PROBLEM), session, max_result_tokens=500, cut=cut_by_characters
            )
            assert done.state is CallState.EXECUTED
            return result.content

    return run_async(episode())


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("pages", "listed"),
    [
        ([{"tools": [tool("a")], "nextCursor": "1"}, {"tools": [tool("b")]}], ["a", "b"]),
        ([{"tools": [tool("a")], "nextCursor": ""}], ["a"]),
        ([{"tools": [tool("a")], "nextCursor": "x"}], ["a"]),
        ([{"tools": [tool("a")], "nextCursor": "x"}, {"tools": [tool("b")], "nextCursor": "x"}], ["a", "b"]),
        (
            [
                {"tools": [tool("a")], "nextCursor": "x"},
                {"tools": [tool("b")], "nextCursor": "y"},
                {"tools": [tool("a")], "nextCursor": "x"},
            ],
            ["a", "b"],
        ),
        ([{"tools": [tool("a")], "nextCursor": None}], ["a"]),
    ],
)
def test_a_list_in_pages_ends(pages: list[dict[str, Any]], listed: list[str]) -> None:
    with source(*pages) as built:
        assert names(built) == listed


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("page", "words"),
    [
        ({"tools": [tool()], "nextCursor": "always new"}, ("does not end",)),
        ({"tools": [{"name": "plus"}]}, ("tools.0", "inputSchema")),
        ({"tools": [tool(parameters=True)]}, ("tools.0", "inputSchema")),
        ({"tools": [tool(parameters=None)]}, ("tools.0", "inputSchema")),
        ({"tools": [tool(parameters=[])]}, ("tools.0", "inputSchema")),
        ({"tools": "plus"}, ("tools",)),
        ({"tools": [tool(parameters={})]}, ("tools.0", "type")),
        ({"tools": [tool("x"), tool(parameters={"type": "string"})]}, ("tools.1", "type")),
        ({"tools": [of({"$ref": "#/$defs/Number"})]}, ("'plus'", "properties.a.$ref")),
        ({"tools": [of({"$ref": "https://example.com/number.json"})]}, ("'plus'", "properties.a.$ref")),
        ({"tools": [of({"pattern": "("})]}, ("'plus'", "properties.a.pattern")),
        ({"tools": [of({"type": "nubmer"})]}, ("'plus'", "properties.a.type")),
        ({"tools": [tool(), tool(parameters={"type": "object"})]}, ("two tools", "'plus'")),
    ],
)
def test_what_is_wrong_with_a_list_is_said_before_anything_runs(page: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(PluginError) as caught, source(page):
        pass
    assert "odd_tool_server.py" in caught.value.message
    assert all(word in caught.value.message for word in words)


def test_a_broken_tool_can_be_left_out_or_the_others_chosen() -> None:
    page = {"tools": [tool("plus"), of({"pattern": "("}) | {"name": "broken"}]}
    with source(page, leave_out=["broken"]) as built:
        assert names(built) == ["plus"]
    with source(page, tools=["plus"]) as built:
        assert names(built) == ["plus"]


def test_names_that_models_may_not_use_have_a_way_back() -> None:
    own = ["calc/plus", "calc.plus", "Plus Numbers", "calc_plus", "größer", "x" * 70, "x" * 71, "plain-name_2"]
    with source({"tools": [tool(name) for name in own]}) as built:
        seen = names(built)
        assert len(set(seen)) == len(own)
        assert all(SAFE.fullmatch(name) for name in seen)
        assert {"calc_plus", "Plus_Numbers", "plain-name_2"} <= set(seen)
        assert [said(built, name) for name in seen] == own


def test_prefix_and_rename() -> None:
    page = {"tools": [tool("find"), tool("calc/order")]}
    with source(page, prefix="shop_", rename={"calc/order": "order"}) as built:
        assert names(built) == ["shop_find", "order"]
        assert said(built, "shop_find") == "find"
        assert said(built, "order") == "calc/order"


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"rename": {"find": "order"}}, "'order'"),
        ({"rename": {"fnd": "x"}}, "'fnd'"),
        ({"leave_out": ["oder"]}, "'oder'"),
        ({"tools": ["ordr"]}, "'ordr'"),
    ],
)
def test_names_that_do_not_fit_are_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(PluginError, match=name), source({"tools": [tool("find"), tool("order")]}, **options):
        pass


@pytest.mark.parametrize(
    "options", [{"prefix": "a b"}, {"prefix": "x" * 40}, {"rename": {"a": "b/c"}}, {"rename": {"a": ""}}]
)
def test_names_that_models_may_not_use_are_faults_of_the_recipe(options: dict[str, Any]) -> None:
    spec = ComponentSpec.model_validate({"use": "mcp", "with": {"command": ["python", "x.py"], **options}})
    with pytest.raises(ComponentError) as caught:
        REGISTRY.check("tools", spec)
    assert caught.value.faults[0][0][1] == next(iter(options))


@pytest.mark.slow
def test_two_servers_with_one_name_are_refused_unless_one_has_a_prefix() -> None:
    page = {"tools": [tool("find")]}
    with source(page) as first, source(page) as second, source(page, prefix="b_") as third:
        with pytest.raises(ToolClash) as caught:
            Toolbox([first, second], ["tools.0 (mcp)", "tools.1 (mcp)"]).tools(PROBLEM)
        assert caught.value.exit_code == 2
        assert caught.value.source == 1
        assert "tools.0 (mcp)" in caught.value.message
        assert list(Toolbox([first, third]).tools(PROBLEM)) == ["find", "b_find"]


NAMES = st.lists(st.text("ab_/. -é", max_size=5) | st.text(max_size=80), unique=True, max_size=8)


@given(NAMES, st.sampled_from(["", "p_"]))
def test_any_names_become_safe_ones_of_their_own(own: list[str], prefix: str) -> None:
    catalogue = [{"name": name, "description": "", "parameters": NUMBERS} for name in own]
    try:
        tools, back = named(catalogue, "the server", prefix=prefix)
    except MentorKitError:
        pytest.fail("every name has a safe one")
    assert all(SAFE.fullmatch(tool.name) for tool in tools)
    assert [back[tool.name] for tool in tools] == own
    # what a name becomes does not hang on the order in which a server lists its tools
    assert named(catalogue[::-1], "the server", prefix=prefix)[1] == back
    # names that were safe stay
    kept = {f"{prefix}{name}" for name in own if SAFE.fullmatch(f"{prefix}{name}")}
    assert kept <= set(back)
