"""What becomes of errors and interruptions: one form for people, one for programs; recipes that come through a pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MENTORKIT = [sys.executable, "-m", "mentor_kit.cli"]
LONG = ["train.0.steps=500", "train.0.problems=2", "train.0.group=2", "evaluate.at_start=false", "evaluate.every=0"]


def call(*arguments: str, cwd: Path, given: str | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [*MENTORKIT, *arguments], cwd=cwd, input=given, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (["check", "nope", "--json"], "RecipeError", 2),
        (["run", "quickstart", "--json", "--stepz", "3"], "UsageError", 2),
        (["run", "--json"], "UsageError", 2),
        (["compare", "nobody", "--json"], "UsageError", 2),
        (["evaluate", "quickstart", "--problems", "x", "--json"], "UsageError", 2),
        (["evaluate", "quickstart", "--run", "nobody", "--json"], "UsageError", 2),
        (["run", "nobody", "--resume", "--json"], "UsageError", 2),
        (["run", "quickstart", "--json", "--set", "student.model=nowhere"], "RecipeError", 2),
    ],
)
def test_programs_get_errors_as_json(tmp_path: Path, arguments: list[str], kind: str, code: int) -> None:
    found, said, errors = call(*arguments, cwd=tmp_path)
    last = json.loads(said.splitlines()[-1])
    assert (found, last["kind"], last["error"], last["code"]) == (code, "error", kind, code)
    assert f"error: {last['message']}\n" in errors
    assert last["hint"] is None or last["hint"] in errors


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["rnu"], "rnu"),
        (["run"], "recipe"),
        (["run", "quickstart", "--stepz", "3"], "--stepz"),
        (["evaluate", "quickstart", "--problems", "x"], "--problems"),
        (["run", "quickstart", "spare"], "spare"),
        (["audit", "quickstart", "--tries", "-1"], "--tries"),
        (["compare"], "runs"),
        (["export", "quickstart"], "target"),
    ],
)
def test_a_mistyped_command_is_one_line_and_what_to_do(tmp_path: Path, arguments: list[str], named: str) -> None:
    code, said, errors = call(*arguments, cwd=tmp_path)
    first, hint = errors.splitlines()
    assert (code, said) == (2, "")
    assert first.startswith("error: ")
    assert named in first
    assert "--help" in hint


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "arguments",
    [["export", "nobody", "there"], ["export", "runs/a/b", "there"], ["compare", "runs/a/b"], ["compare", "."]],
)
def test_a_run_that_is_not_there_is_a_wrong_command_line(tmp_path: Path, arguments: list[str]) -> None:
    code, _, errors = call(*arguments, cwd=tmp_path)
    assert code == 2
    assert errors.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_comes_on_standard_input(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: quickstart\nname: base\n", encoding="utf-8")
    code, said, _ = call("check", "-", "--json", cwd=tmp_path, given="extends: base.yaml\nseed: 7\n")
    assert code == 0
    assert (json.loads(said)["name"], json.loads(said)["seed"]) == ("base", 7)
    assert Path(json.loads(said)["folder"]) == tmp_path.resolve()
    code, _, errors = call("check", "-", cwd=tmp_path, given="extends: quickstart\nseed: x\n")
    assert code == 2
    assert errors.startswith("error: <stdin>:2:7: seed")
    code, _, errors = call("check", "-", cwd=tmp_path, given="")
    assert code == 2
    assert "<stdin>" in errors


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_recipe_comes_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*MENTORKIT, "check", str(pipe), "--json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    pipe.write_text("extends: quickstart\nseed: 9\n", encoding="utf-8")
    said, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, b"")
    assert json.loads(said)["seed"] == 9
    assert Path(json.loads(said)["folder"]) == tmp_path.resolve()


def interrupted(cwd: Path, *after: str) -> tuple[list[str], Path]:
    """What a run says that gets Ctrl-C after each line with one of these in it, and its folder."""
    process = subprocess.Popen(
        [*MENTORKIT, "run", "quickstart", "--plain", *(word for setting in LONG for word in ("--set", setting))],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if any(mark in line for mark in after):
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    (run,) = (cwd / "runs" / "quickstart").iterdir()
    return lines, run


@pytest.mark.slow
def test_ctrl_c_is_answered_and_a_second_one_tells_where_the_run_is(tmp_path: Path) -> None:
    lines, run = interrupted(tmp_path, "step 1/", "stopping after")
    assert sum(line.startswith("stopping after this step") for line in lines) == 1
    assert f"mentorkit run --resume {run.relative_to(tmp_path)}" in lines[-1]


def test_one_ctrl_c_saves_the_step_in_hand(tmp_path: Path) -> None:
    lines, run = interrupted(tmp_path, "step 1/")
    assert any(line.startswith("stopping after this step") for line in lines)
    assert f"mentorkit run --resume {run.relative_to(tmp_path)}" in lines[-1]
    assert list((run / "checkpoints").glob("0-grpo-step-*"))
