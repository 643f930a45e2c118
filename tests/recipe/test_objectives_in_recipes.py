"""An objective's loss and advantage estimator as a recipe names them: checked, expanded, overridden and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from recipe_helpers import write

from mentor_kit.core.errors import RecipeError
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.changes import changes
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.expanding import expanded
from mentor_kit.recipe.schema import recipe_schema
from mentor_kit.recipe.settings import parse_settings

STAGE = """\
extends: quickstart
train:
  - use: grpo
    with:
      steps: 2
      optimizer: {use: adamw, lr: 1.0e-3}
      objective:
        preset: dapo
        %s
"""


def objective(*settings: str, recipe: str | Path = "quickstart") -> Any:
    """The first stage's objective in the expanded recipe."""
    registry = default_registry()
    return expanded(load_checked(recipe, parse_settings(settings), registry), registry)["train"][0]["with"]["objective"]


@pytest.mark.parametrize(
    ("line", "place", "suggestion"),
    [
        ("loss: pp0", "9:15: train.0.with.objective.loss.use", "'ppo'"),
        ("loss: {use: cipso}", "9:21: train.0.with.objective.loss.use", "'cispo'"),
        ("loss: {use: ppo, with: {clip_hihg: 0.3}}", "9:33: train.0.with.objective.loss.with.clip_hihg", "'clip_high'"),
        ("advantage: group_maen", "9:20: train.0.with.objective.advantage.use", "'group_mean'"),
    ],
)
def test_a_wrong_name_has_its_place_and_a_suggestion(here: Path, line: str, place: str, suggestion: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_checked(write(here, STAGE % line), {}, default_registry())
    assert f"recipe.yaml:{place}" in str(caught.value)
    assert f"did you mean {suggestion}" in str(caught.value)


@pytest.mark.parametrize("line", ["importance_cap: 2.0", "distill: 1.0"])
def test_what_needs_advantages_is_refused_beside_maximum_likelihood(here: Path, line: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml:3:10: train\.0\.use: .*'likelihood'"):
        load_checked(write(here, STAGE % f"loss: likelihood\n        {line}"), {}, default_registry())


def test_an_expanded_recipe_shows_every_option(here: Path) -> None:
    found = objective(recipe=write(here, STAGE % "loss: cispo"))
    assert found["loss"] == {"use": "cispo", "with": {"clip_low": None, "clip_high": 4.0}}
    assert found["advantage"] == {"use": "group_mean_std", "with": {}}


def ppo(low: float, high: float) -> dict[str, Any]:
    return {"use": "ppo", "with": {"clip_low": low, "clip_high": high, "clip_dual": None}}


@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        (["loss.clip_high=0.3"], ppo(0.2, 0.3)),
        (["preset=dapo", "loss.clip_low=0.1"], ppo(0.1, 0.28)),
        (["preset=gspo", "loss.clip_high=1e-3"], {"use": "gspo", "with": {"clip_low": 3e-4, "clip_high": 1e-3}}),
        (["loss.clip_dual=3"], {**ppo(0.2, 0.2), "with": {**ppo(0.2, 0.2)["with"], "clip_dual": 3.0}}),
        (["loss=cispo", "loss.clip_high=3"], {"use": "cispo", "with": {"clip_low": None, "clip_high": 3.0}}),
        (["loss.use=reinforce"], {"use": "reinforce", "with": {}}),
        (["loss={use: gspo}", "loss.use=ppo"], ppo(0.2, 0.2)),
    ],
)
def test_settings_reach_the_loss(settings: list[str], loss: dict[str, Any]) -> None:
    assert objective(*(f"train.0.objective.{setting}" for setting in settings))["loss"] == loss


def test_settings_reach_the_advantage() -> None:
    assert objective("train.0.objective.advantage=leave_one_out")["advantage"]["use"] == "leave_one_out"


def test_another_loss_is_another_recipe() -> None:
    registry = default_registry()
    before = load_checked("quickstart", {}, registry)
    for setting, key in (
        ("loss.clip_high=0.3", "train.0.objective.loss.clip_high"),
        ("loss=cispo", "train.0.objective.loss.use"),
        ("advantage=group_mean", "train.0.objective.advantage.use"),
    ):
        after = load_checked("quickstart", parse_settings([f"train.0.objective.{setting}"]), registry)
        assert [change.key for change in changes(before, after, registry)] == [key]
    same = load_checked("quickstart", {"train.0.objective.loss": "ppo"}, registry)
    assert changes(before, same, registry) == []


@pytest.mark.parametrize(
    ("objective", "right"),
    [
        ({"loss": "gspo"}, True),
        ({"loss": {"use": "gspo", "with": {"clip_low": None}}}, True),
        ({"loss": {"use": "gspo", "with": {"clip": 0.1}}}, False),
        ({"loss": "gpso"}, False),
        ({"advantage": "leave_one_out"}, True),
        ({"advantage": {"use": "nobody"}}, False),
    ],
)
def test_the_schema_knows_losses_and_estimators(objective: dict[str, Any], right: bool) -> None:
    stage = {"use": "grpo", "with": {"steps": 1, "optimizer": {"lr": 1e-3}, "objective": objective}}
    validator = Draft202012Validator(recipe_schema(default_registry()))
    assert validator.is_valid({"extends": "quickstart", "train": [stage]}) == right
