"""A run's checkpoint, its student's folder and other agents, evaluated and compared through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def mentorkit(folder: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "mentor_kit.cli", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def outcomes(folder: Path, result: Any) -> dict[str, Any]:
    (file,) = (folder / result["run"] / "evaluation").glob("*-in-domain.json")
    found: dict[str, Any] = json.loads(file.read_text())["outcomes"]
    return found


def test_a_checkpoint_is_its_student(tmp_path: Path) -> None:
    trained = mentorkit(
        tmp_path,
        *("run", "quickstart", "--set", "train.0.steps=2", "--set", "checkpoints.every=1"),
        *("--set", "train.0.problems=4", "--set", "evaluate={on: []}", "--set", "train.0.optimizer.lr=0.003"),
    )
    asked = ("--split", "in-domain", "--problems", "30", "--samples", "1")
    last = mentorkit(tmp_path, "evaluate", "quickstart", "--run", trained["run"], *asked)
    folder = mentorkit(tmp_path, "evaluate", "quickstart", "--student", trained["student"], *asked)
    first = mentorkit(
        tmp_path, "evaluate", "quickstart", "--run", trained["run"], "--checkpoint", "0-grpo-step-000001", *asked
    )
    untrained = mentorkit(tmp_path, "evaluate", "quickstart", *asked)
    assert outcomes(tmp_path, last) == outcomes(tmp_path, folder)
    # a name means the run that has checkpoints, not the evaluations since
    named = mentorkit(tmp_path, "evaluate", "quickstart", "--run", "quickstart", *asked)
    assert outcomes(tmp_path, named) == outcomes(tmp_path, last)
    assert mentorkit(tmp_path, "run", "quickstart", "--resume")["run"] == trained["run"]
    # another checkpoint, and none, are other students: their words differ somewhere
    words = [
        (tmp_path / result["run"] / "evaluation" / "0-evaluate-000000-in-domain.jsonl").read_bytes()
        for result in (last, first, untrained)
    ]
    assert len(set(words)) == 3
    # an evaluation trains nothing, and leaves no weights
    assert not (tmp_path / last["run"] / "student").exists()
    assert not (tmp_path / last["run"] / "checkpoints").exists()


def test_a_recipe_that_only_evaluates_ends_well(tmp_path: Path) -> None:
    asked = ("--set", "evaluate={on: [{split: in-domain, problems: 4, samples: 1}]}")
    done = subprocess.run(
        [sys.executable, "-m", "mentor_kit.cli", "run", "miniature/neutral/untrained", *asked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "run: " in done.stdout
    assert "student: " not in done.stdout
    assert "student" not in mentorkit(tmp_path, "run", "miniature/neutral/untrained", *asked)


def test_agents_are_compared_problem_by_problem(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    asked = ("--split", "out-of-domain", "--problems", "40", "--samples", "2")
    student = mentorkit(tmp_path, "evaluate", "quickstart", *asked)
    script = mentorkit(tmp_path, "evaluate", "quickstart", "--agent", "teacher", *asked)
    (report,) = script["evaluations"]
    assert (report["agent"]["name"], report["sampled"]["accuracy"], report["similarity"]) == ("scripted", 1.0, 1.0)
    (pair,) = mentorkit(tmp_path, "compare", "--paired", student["run"], script["run"])["pairs"]
    assert pair["b"] == 1.0
    (file,) = (tmp_path / student["run"] / "evaluation").glob("*.outcomes.parquet")
    frame = pandas.read_parquet(file)
    assert len(frame) == 40 * 3
    sampled = frame[frame.decoding == "sampled"]
    (own,) = student["evaluations"]
    assert sampled.correct.mean() == pytest.approx(own["sampled"]["accuracy"])
    assert pair["a"] == pytest.approx(own["sampled"]["accuracy"])
    # the same numbers from the rows alone: pass@2 is the share of problems with a right one among two
    assert sampled.groupby("problem").correct.any().mean() == pytest.approx(own["pass_at"]["2"]["value"])
    lines = file.with_suffix(".jsonl").read_text().splitlines()
    assert [json.loads(line)["problem"] for line in lines] == list(frame.problem)
