"""Two tools of one name: found by `check` where options name them, and before anything is made where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import ExitCode, RecipeError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.recipe.settings import parse_settings

MODULE = "def add(a: float, b: float) -> float:\n    '''Add.'''\n    return a + b\n"


@pytest.mark.parametrize(
    ("tools", "place"),
    [
        ("[math, math]", "tools.1"),
        ("[math, {use: code, with: {name: add}}]", "tools.1"),
        ("[{use: code, with: {name: a}}, math, {use: code, with: {name: a}}]", "tools.2"),
        ("[math, {use: python, with: {module: own, functions: [add]}}]", "tools.1"),
        ("[math, {use: python, with: {module: own, functions: [add], rename: {add: subtract}}}]", "tools.1"),
        ("[{use: mcp, with: {url: h://a, tools: [c/d]}}, {use: mcp, with: {url: h://b, tools: [c_d]}}]", "tools.1"),
        ("[{use: mcp, with: {url: h://a}}, {use: mcp, with: {url: h://a}}]", "tools.1"),
    ],
)
def test_check_finds_them(tools: str, place: str) -> None:
    with pytest.raises(RecipeError) as caught:
        api.check("quickstart", overrides=parse_settings([f"tools={tools}"]), look=False)
    assert f": {place}: " in caught.value.message
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    "tools",
    [
        "[math, {use: code, with: {name: other}}]",
        "[math, {use: python, with: {module: own, functions: [add], prefix: my_}}]",
        "[{use: mcp, with: {url: h://a, tools: [a]}}, {use: mcp, with: {url: h://a, tools: [a], prefix: b_}}]",
        "[{use: mcp, with: {url: h://a, tools: [a]}}, {use: mcp, with: {url: h://a, tools: [b]}}]",
    ],
)
def test_other_names_are_fine(tools: str) -> None:
    api.check("quickstart", overrides=parse_settings([f"tools={tools}"]), look=False)


def test_what_only_the_tools_tell_is_found_before_a_run_is_made(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE, encoding="utf-8")
    overrides = [
        "tools=[math, {use: python, with: {module: own, workers: 1}}]",
        f"folder={tmp_path}",
        "train=[collect]",
    ]
    with pytest.raises(RecipeError) as caught:
        api.run("quickstart", overrides=parse_settings(overrides), output=tmp_path / "runs")
    assert "tools.1" in caught.value.message
    assert "'add'" in caught.value.message
    assert not list((tmp_path / "runs").glob("*/*"))


@pytest.mark.parametrize(
    ("use", "options"),
    [("math", {}), ("python", {"module": "own", "functions": ["add"], "prefix": "my_"}), ("code", {"name": "run"})],
)
def test_options_tell_what_is_built(use: str, options: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE, encoding="utf-8")
    from mentor_kit.recipe.assembly import tool_source

    registry, spec = default_registry(), ComponentSpec(use=use, options=options)
    box = Toolbox([tool_source(registry.build("tools", spec, BuildContext(registry, recipe_folder=tmp_path)), use)])
    assert list(box.tools(Problem(id="p", question="?", answer=""))) == registry.check("tools", spec).tool_names  # type: ignore[attr-defined]
    box.close()
