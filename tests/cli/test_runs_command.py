"""`mentorkit runs` in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mentor_kit.cli.app import run_app
from mentor_kit.runs import RunFolder, RunRecorder


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.create(Path("runs"), "quick", "name: quick\n")
    with RunRecorder(folder) as recorder:
        recorder.emit("step", "0-grpo", {"step": 3, "steps": 5})
        recorder.emit("evaluation", "0-grpo", {"step": 3, "greedy": {"accuracy": 0.876, "low": 0.81, "high": 0.914}})
    Path("runs/quick/20260101-000000-abcd").mkdir()
    return folder


@pytest.mark.parametrize("columns", ["80", "120"])
def test_a_row_a_run(
    done: RunFolder, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run_app(["runs"]) == 0
    said = capsys.readouterr().out
    [row] = [line for line in said.splitlines() if done.id in line]
    assert row.split()[:6] == ["quick", done.id, "done", "3/5", "87.6", "(81–91)"]
    assert "broken: runs/quick/20260101-000000-abcd: it has no recipe.yaml" in said.replace("\n  ", " ")
    assert max(map(len, said.splitlines())) <= int(columns)


def test_json_has_all_of_it(done: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["runs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    good, broken = found["runs"]
    assert (good["name"], good["id"], good["state"], good["step"], good["steps"]) == ("quick", done.id, "done", 3, 5)
    assert good["accuracy"]["accuracy"] == 0.876
    assert (broken["id"], broken["state"]) == ("20260101-000000-abcd", None)
    assert broken["fault"]
    assert run_app(["runs", "--json", "--last", "1"]) == 0
    assert [run["id"] for run in json.loads(capsys.readouterr().out)["runs"]] == [done.id]


def test_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(["runs"]) == 0
    assert "no runs in runs" in capsys.readouterr().out
    assert run_app(["runs", "--runs", "nowhere"]) == 2
    assert run_app(["runs", "--last", "0"]) == 2
