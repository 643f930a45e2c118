"""The example package with a loss and an advantage estimator: registered, small, and what the docs show of it."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from mentor_kit.hooks import BuildContext, Registry, load_plugins
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.recipe.checking import load_checked
from mentor_kit.rl.objective import ObjectiveSpec

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "mentor-kit-objectives"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The installed plugins, and the example beside them."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    points = [*entry_points(group="mentorkit"), EntryPoint("objectives", "mentor_kit_objectives", "mentorkit")]
    return Registry(load_plugins(points))


def test_its_parts_are_registered_beside_ours(registry: Registry) -> None:
    assert registry.plugins.failed == ()
    owners = {name: registry.component("losses", name).owner for name in registry.components("losses")}
    assert owners["sapo"] == "objectives"
    assert set(owners) == {"ppo", "gspo", "cispo", "reinforce", "likelihood", "sapo"}
    assert registry.component("advantages", "optimal_baseline").owner == "objectives"
    assert registry.faults == []


def test_an_objective_of_them_is_built(registry: Registry) -> None:
    spec = ObjectiveSpec.model_validate({"loss": "sapo", "advantage": "optimal_baseline", "kl": 0.0})
    built = build_objective(spec, BuildContext(registry))
    assert (type(built.loss).__name__, type(built.advantage).__name__) == ("SAPO", "OptimalBaseline")


def test_its_recipe_is_right(registry: Registry) -> None:
    (stage,) = load_checked(EXAMPLE / "recipe.yaml", {}, registry).recipe.train
    assert stage.options["objective"]["loss"]["use"] == "sapo"


def test_each_is_at_most_forty_lines() -> None:
    for name in ("sapo.py", "optimal_baseline.py"):
        assert len((EXAMPLE / "mentor_kit_objectives" / name).read_text(encoding="utf-8").splitlines()) <= 40


def test_the_page_on_objectives_shows_its_code() -> None:
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    code = "\n".join(file.read_text(encoding="utf-8") for file in sorted(EXAMPLE.rglob("*.py")))
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        assert block.strip() in code
