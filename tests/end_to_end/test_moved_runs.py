"""A run's recipe finds the recipe's files without naming the user's home, also after both were moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.core.errors import RecipeError
from mentor_kit.runs import Run

RECIPE = """\
extends: quickstart
name: mine
student: {model: HOME/models/student}
teacher: {use: recorded, with: {path: shown.jsonl}}
train: [{use: collect, with: {problems: 2}}]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a home, with a recipe that refers to a file beside it, and a model elsewhere in the home."""
    home = tmp_path / "home" / "somebody"
    (home / "project" / "recipes").mkdir(parents=True)
    (home / "models" / "student").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    found = api.collect("quickstart", overrides={"student.model": "./nowhere"}, problems=2, output=tmp_path / "before")
    recipes = home / "project" / "recipes"
    (recipes / "shown.jsonl").write_bytes(found.folder.demonstrations.read_bytes())
    (recipes / "mine.yaml").write_text(RECIPE.replace("HOME", str(home)))
    return home / "project"


def started(project: Path) -> Run:
    return api.run(project / "recipes" / "mine.yaml", output=project / "runs")


def texts(run: Run) -> str:
    return "".join(path.read_text() for path in run.path.rglob("*") if path.is_file())


def test_the_home_stands_nowhere_in_a_run_folder(project: Path) -> None:
    run = started(project)
    assert "somebody" not in texts(run)
    assert run.recipe["folder"] == "../../../recipes"
    assert run.recipe["student"]["model"] == "../../models/student"
    assert run.recipe_folder == project / "recipes"


def test_a_project_is_moved_with_its_runs(project: Path) -> None:
    run = started(project)
    moved = project.rename(project.with_name("elsewhere"))
    done = api.resume(moved / run.path.relative_to(project))
    assert (done.outcome, len(done.demonstrations())) == ("done", 2)


@pytest.mark.slow
def test_a_run_moved_alone_is_resumed_with_the_folder_of_its_recipe(project: Path, tmp_path: Path) -> None:
    run = started(project)
    (tmp_path / "kept" / "mine").mkdir(parents=True)
    moved = run.path.rename(tmp_path / "kept" / "mine" / run.path.name)
    with pytest.raises(RecipeError, match=r"shown\.jsonl"):
        api.resume(moved)
    assert api.resume(moved, overrides={"folder": str(project / "recipes")}).outcome == "done"
    # the folder's recipe knows it from now on
    again = api.resume(moved)
    assert again.outcome == "done"
    assert again.recipe["folder"] == "~/project/recipes"
    assert again.recipe_folder == project / "recipes"
    assert again.folder.settings() == {}


@pytest.mark.slow
def test_a_recipe_edited_since_is_compared_by_what_its_paths_mean(project: Path) -> None:
    run = started(project)
    done = api.resume(run.path, recipe=project / "recipes" / "mine.yaml")
    assert [event.values["text"] for event in done.events if event.kind == "note"] == []
