"""The tools `python`, as a recipe builds them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, call
from mentor_kit.core.errors import PluginError
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, ComponentError, Registry
from mentor_kit.rollout import run_async
from mentor_kit.rollout.tools import cut_by_characters, run_call

REGISTRY = Registry(load_plugins())
PROBLEM = Problem(id="p", question="?", answer="")
MODULE = '''
from math import sqrt

SHELF = []
print("this is no tool's output")

def area(width: float, height: float = 2.0) -> float:
    """The area of a rectangle.

    Args:
        width: in metres.
    """
    return width * height

def put(thing: str) -> list[str]:
    """Put a thing on the shelf."""
    SHELF.append(thing)
    return SHELF

def leave() -> None:
    """End it all."""
    import os
    os._exit(4)

def _hidden(a: int) -> int:
    return a
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shelf_tools.py").write_text(MODULE)
    return tmp_path


def built(folder: Path, **options: Any) -> Any:
    spec = ComponentSpec.model_validate({"use": "python", "with": {"workers": 1, **options}})
    return REGISTRY.build("tools", spec, BuildContext(REGISTRY, recipe_folder=folder))


def played(source: Any, *calls: Any) -> list[tuple[CallState, str]]:
    """The calls of one episode, through the toolbox as a rollout runs them."""
    toolbox = Toolbox([source])

    async def episode() -> list[tuple[CallState, str]]:
        found = []
        async with toolbox.open(PROBLEM, 1) as session:
            for one in calls:
                done, result = await run_call(
                    one, toolbox.tools(PROBLEM), session, max_result_tokens=100, cut=cut_by_characters
                )
                found.append((done.state, result.content))
        return found

    return run_async(episode())


def test_functions_are_tools_and_run_elsewhere(folder: Path) -> None:
    source = built(folder, module="shelf_tools")
    assert "shelf_tools" not in sys.modules
    tools = {tool.name: tool for tool in source.tools(PROBLEM)}
    assert sorted(tools) == ["area", "leave", "put"]
    assert tools["area"].description == "The area of a rectangle."
    assert tools["area"].parameters["required"] == ["width"]
    assert tools["area"].parameters["properties"]["width"]["description"] == "in metres."
    found = played(
        source,
        call("area", width=3),
        call("area", width="wide"),
        call("leave"),
        call("nothing"),
        call("area", width=1.5, height=2),
    )
    assert found[0] == (CallState.EXECUTED, "6.0")
    assert found[1][0] is CallState.INVALID_ARGUMENTS
    assert found[2] == (CallState.FAILED, "error: the tool ended its process (exit code 4)")
    assert found[3][0] is CallState.UNKNOWN_TOOL
    assert found[4] == (CallState.EXECUTED, "3.0")
    source.runner.close()


def test_the_same_schemas_as_in_this_process(folder: Path) -> None:
    """The twin: the module imported here, through `Tool.from_function`."""
    namespace: dict[str, Any] = {"__name__": "twin"}
    exec(MODULE, namespace)
    source = built(folder, module="shelf_tools.py", functions=["put", "area"])
    assert list(source.tools(PROBLEM)) == [Tool.from_function(namespace[name]) for name in ("put", "area")]
    source.runner.close()


def test_state_lasts_for_an_episode_where_it_is_wanted(folder: Path) -> None:
    source = built(folder, module="shelf_tools.py", state="episode")
    for _ in range(2):
        found = played(source, call("put", thing="a"), call("put", thing="b"))
        assert found[1] == (CallState.EXECUTED, '["a", "b"]')
    source.runner.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"module": "shelf_tolls"}, "No module named 'shelf_tolls'"),
        ({"module": "nowhere.py"}, "there is no file"),
        ({"module": "shelf_tools", "functions": ["aera"]}, r"no function 'aera' \(did you mean 'area'\?\)"),
    ],
)
def test_what_cannot_be_used_says_why(folder: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(PluginError, match=reason) as caught:
        built(folder, **options)
    assert caught.value.hint


@pytest.mark.parametrize(
    "options",
    [{}, {"module": "m", "limits": {"seconds": 0}}, {"module": "m", "functoins": []}, {"module": "m", "state": "x"}],
)
def test_faulty_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ComponentError):
        REGISTRY.check("tools", ComponentSpec.model_validate({"use": "python", "with": options}))
