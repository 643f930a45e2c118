"""Real runs in which something goes wrong: the terminal, the events and the page name it, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mentor_kit.cli import app as cli
from mentor_kit.core.event import DIAGNOSIS
from mentor_kit.report.page import RunPage
from mentor_kit.runs import Run

pytestmark = pytest.mark.slow

SHORT = [
    *("--set", "evaluate.on=[]", "--set", "train.0.problems=4", "--set", "train.0.group=4"),
    *("--set", "checkpoints.every=2", "--set", "train.0.optimizer.schedule=constant"),
]


def diagnoses(run: Run) -> list[tuple[str, int | None]]:
    return [(event.values["name"], event.step) for event in run.events if event.kind == DIAGNOSIS]


def test_turns_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["--set", "rollout.max_turn_tokens=3", "--set", "train.0.steps=4"]
    assert cli.run_app(["run", "quickstart", *SHORT, *tiny, "--plain"]) == 0
    said = capsys.readouterr().out
    assert said.count("warning: 0-grpo step 3:") == said.count("warning:") == 1
    assert "rollout.max_turn_tokens" in said
    run = Run.open("quickstart", tmp_path / "runs")
    assert diagnoses(run) == [("episodes-cut", 3)]
    assert [note["values"]["name"] for note in RunPage(run).index()["overview"]["notes"]] == ["episodes-cut"]
    # resumed and lengthened, it is not named again
    assert cli.run_app(["run", "quickstart", "--resume", "--set", "train.0.steps=8", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "step"] == [5, 6, 7, 8]
    assert [line for line in lines if line["kind"] == DIAGNOSIS] == []
    assert diagnoses(run) == [("episodes-cut", 3)]


def test_a_learning_rate_that_ruins_the_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ruin = ["--set", "train.0.optimizer.lr=0.03", "--set", "train.0.optimizer.warmup=0", "--set", "train.0.steps=10"]
    assert cli.run_app(["run", "quickstart", *SHORT, *ruin, "--json"]) == 0
    run = Run.open("quickstart", tmp_path / "runs")
    assert {name for name, _ in diagnoses(run)} & {"episodes-cut", "empty-answers", "no-calls", "no-answers"}
    found = next(event for event in run.events if event.kind == DIAGNOSIS)
    assert found.values["settings"][0] == "train.0.optimizer.lr"


def test_a_healthy_run_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--set", "train.0.steps=6", "--set", "evaluate.on=[]"]
    assert cli.run_app(["run", "quickstart", *settings, "--plain"]) == 0
    assert diagnoses(Run.open("quickstart", tmp_path / "runs")) == []
