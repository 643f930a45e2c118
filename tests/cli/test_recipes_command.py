"""`mentorkit recipes` as programs and people use it."""

from __future__ import annotations

import json

import pytest

from mentor_kit.cli.app import run_app
from mentor_kit.core.errors import ExitCode
from mentor_kit.recipe.loading import recipe_names


def test_recipes_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["recipes", "data", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [recipe["name"] for recipe in found] == [name for name in recipe_names() if name.startswith("data/")]
    assert set(found[0]) == {"name", "summary", "plugin", "model", "backend", "downloads", "missing", "runs"}


def test_every_line_fits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_app(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "quickstart: runs here" in lines
    assert max(map(len, lines)) <= 80
    # those of folders inside folders are counted
    shown = [line for line in lines if not line.startswith(" ")]
    counted = [line for line in shown if "/…: " in line]
    numbers = [int(line.split("/…: ")[1].split()[0]) for line in counted]
    assert len(shown) - len(counted) + sum(numbers) == len(recipe_names())


def test_no_such_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["recipes", "quikstart"]) == ExitCode.USAGE
    assert "'quickstart'" in capsys.readouterr().err
