"""The list of recipes: every one is in it, with what this machine lacks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.core.errors import UsageError
from mentor_kit.recipe.loading import recipe_names


@pytest.fixture(autouse=True)
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_every_recipe_is_listed_once_with_a_summary() -> None:
    found = api.list_recipes()
    assert [recipe.name for recipe in found] == recipe_names()
    assert all(recipe.summary for recipe in found)
    assert {recipe.name: recipe.runs for recipe in found}["quickstart"]


def test_a_model_of_the_hub_is_downloaded_once(no_models: Path) -> None:
    (found,) = api.list_recipes("laptop/qwen3-0.6b")
    assert (found.model, found.downloads) == ("Qwen/Qwen3-0.6B", ("Qwen/Qwen3-0.6B",))
    (no_models / "models--Qwen--Qwen3-0.6B" / "snapshots" / "0123").mkdir(parents=True)
    (found,) = api.list_recipes("laptop/qwen3-0.6b")
    assert found.downloads == ()


def test_files_that_are_not_there_are_named() -> None:
    (found,) = api.list_recipes("paper/qwen3-8b/mentor")
    assert not found.runs
    assert any("train.parquet" in reason for reason in found.missing)


def test_what_cannot_be_used_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit.hooks.references.find_spec", lambda package: None)
    (found,) = api.list_recipes("data/reasoning-gym")
    assert not found.runs
    assert "pip install 'mentor-kit[reasoning-gym]'" in found.missing[0]


def test_a_folder_is_listed_with_what_is_in_it() -> None:
    names = {recipe.name for recipe in api.list_recipes("miniature/causes")}
    assert names == {name for name in recipe_names() if name.startswith("miniature/causes")}
    assert api.list_recipes("miniature/causes/") == api.list_recipes("miniature/causes")


def test_a_name_that_is_not_there_has_a_suggestion() -> None:
    with pytest.raises(UsageError, match="'paper'"):
        api.list_recipes("papr")
