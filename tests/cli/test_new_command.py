"""`mentorkit new` as programs and people use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mentor_kit.cli.app import run_app
from mentor_kit.core.errors import ExitCode


def test_a_plugin_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert run_app(["new", "plugin", "chess", "--loss", "--tracker", "--output", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["plugin"], found["distribution"], found["package"]) == (
        "chess",
        "mentor-kit-chess",
        "mentor_kit_chess",
    )
    assert found["kinds"] == ["trackers", "losses"]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == found["files"]


def test_without_kinds_it_has_tools_a_task_and_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(["new", "plugin", "chess"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "plugin: mentor-kit-chess"
    assert "  mentorkit run mentor_kit_chess/recipe.yaml" in lines
    assert {path.name for path in Path("mentor-kit-chess/mentor_kit_chess").iterdir()} >= {"tool.py", "task.py"}


def test_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["new", "plugin", "chess", "--all", "--output", str(tmp_path / "new"), "--json"]) == 0
    assert {"tools", "backends", "doctor"} < set(json.loads(capsys.readouterr().out)["kinds"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["math"],
        ["a b"],
        ["chess", "--tool-box"],
        ["run", "--command"],
        ["run", "--all"],
        [],
    ],
)
def test_a_wrong_command_line_writes_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(["new", "plugin", *arguments]) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    place = tmp_path / "file" / "below"
    assert run_app(["new", "plugin", "chess", "--output", str(place)]) != 0
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_recipe_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "sums.jsonl"
    data.write_text('{"question": "What is 2 + 2?", "key": 4}\n', encoding="utf-8")
    folder = tmp_path / "new"
    assert run_app(["new", "recipe", str(data), "--output", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recipe"], found["files"]) == (str(folder / "recipe.yaml"), ["recipe.yaml"])
    assert (found["data"]["task"], found["data"]["check"], found["data"]["columns"]["answer"]) == (
        "rows",
        "number",
        "key",
    )
    assert run_app(["check", found["recipe"]]) == 0


def test_a_recipe_of_ones_own_data_is_shown_with_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(["new", "recipe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipe: my-recipe/recipe.yaml"
    assert "  mentorkit run my-recipe/recipe.yaml" in lines


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere.csv"], ExitCode.FAILED),
        (["odd.csv"], ExitCode.FAILED),
        (["odd.csv", "--question", "a", "--answer", "c"], ExitCode.FAILED),
        (["odd.csv", "--question", "a", "--answer", "b", "--student", "nobody"], ExitCode.USAGE),
        ([".", "--output", "new"], ExitCode.USAGE),
        (["--test", "odd.csv"], ExitCode.USAGE),
        (["--question", "a"], ExitCode.USAGE),
    ],
)
def test_a_recipe_that_cannot_be_made_leaves_nothing(
    arguments: list[str], code: ExitCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert run_app(["new", "recipe", *arguments]) == code
    assert [path.name for path in tmp_path.iterdir()] == ["odd.csv"]
