"""Recipes built in Python: they run, resume, and their faults are ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mentor_kit
from mentor_kit import ComponentSpec, MentorKitError, Recipe, SplitPlan, api
from mentor_kit.core.errors import RecipeError, UsageError

TRAIN = {"steps": 1, "problems": 2, "group": 2, "objective": {"preset": "grpo"}, "optimizer": {"lr": 5e-4}}
ROLLOUT = {"max_turns": 5, "max_turn_tokens": 96, "max_response_tokens": 256, "max_result_tokens": 64}


def small(**fields: Any) -> Recipe:
    values: dict[str, Any] = {
        "mentorkit": 1,
        "name": "mine",
        "student": "tiny-student",
        "task": "arithmetic",
        "tools": ["math"],
        "teacher": "scripted",
        "reward": "mentor",
        "rollout": ROLLOUT,
        "train": [ComponentSpec(use="grpo", options=TRAIN)],
    }
    return Recipe(**values | fields)


def test_it_runs_and_is_resumed_and_evaluated(tmp_path: Path) -> None:
    run = mentor_kit.run(small(), output=tmp_path)
    assert [step["step"] for step in run.steps] == [1]
    longer = mentor_kit.resume(run, overrides={"train.0.steps": 2})
    assert [step["step"] for step in longer.steps] == [1, 2]
    assert mentor_kit.load_recipe(run.folder.recipe).recipe.train[0].options["steps"] == 2
    found = mentor_kit.evaluate(small(), on=[SplitPlan(split="in-domain", problems=1)], trained=run, output=tmp_path)
    assert len(found.evaluations) == 1


def test_it_is_checked_planned_and_benched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit_torch.flops_counter.MEASURED_SECONDS", 0.02)
    recipe = small()
    assert mentor_kit.check(recipe).recipe == recipe
    assert mentor_kit.plan(recipe).name == "mine"
    (stage,) = mentor_kit.bench(recipe, overrides={"train.0.steps": 2}, steps=1).stages
    assert stage.steps == 2


def test_paths_start_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mentor_kit.load_recipe(small()).folder == tmp_path
    (tmp_path / "base.yaml").write_text("extends: quickstart\nname: base\n")
    loaded = mentor_kit.load_recipe({"extends": "base.yaml", "seed": 3}, {"train.0.steps": 4})
    assert (loaded.recipe.name, loaded.recipe.seed, loaded.recipe.train[0].options["steps"]) == ("base", 3, 4)


@pytest.mark.parametrize("recipe", [None, 3, ["quickstart"], Path(), "a\0b", "a" * 5000, {1: 2}, {"extends": 3}, {}])
def test_what_is_no_recipe_is_refused(recipe: Any) -> None:
    for function in (api.check, api.plan, api.run, api.evaluate, api.collect, api.bench, api.audit):
        with pytest.raises(MentorKitError):
            function(recipe)


@pytest.mark.parametrize(
    "overrides",
    [["seed=1"], "seed=1", None, 3, {1: 2}, {"": 1}, {"train.9.steps": 1}, {"seed": object()}, {"seed.x": 1}],
)
def test_overrides_that_are_none_are_refused(overrides: Any) -> None:
    with pytest.raises(MentorKitError):
        mentor_kit.check("quickstart", overrides=overrides)


def test_a_fault_names_its_key_alone() -> None:
    with pytest.raises(RecipeError) as error:
        mentor_kit.check("quickstart", overrides={"train.0.steps": "nine"})
    assert error.value.message.startswith("train.0.with.steps: ")
    with pytest.raises(RecipeError) as error:
        mentor_kit.check({"extends": "quickstart", "sed": 1})
    assert error.value.message.startswith("sed: ")


@pytest.mark.parametrize("fields", [{"seed": -1}, {"sed": 1}, {"student": {"modl": "x"}}, {"rollout": 3}, {"task": 5}])
def test_a_wrong_recipe_cannot_be_built(fields: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as error:
        small(**fields)
    assert error.value.message.startswith(next(iter(fields)))


@pytest.mark.parametrize("run", [None, 3, ["a"]])
def test_what_is_no_run_is_refused(run: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        mentor_kit.resume(run)
    with pytest.raises(UsageError):
        mentor_kit.export(run, tmp_path / "out")
