"""The command `rescore`: what it prints for people and programs, and the code it ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mentor_kit.cli import app as cli
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.loader import default_registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.expanding import expanded
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.rl.reward import Breakdown, Scored, TermScore
from mentor_kit.runs import RunFolder


def rollout(attempt: int, *, right: bool) -> str:
    made = Trajectory(
        id=f"train-0-0#{attempt}",
        problem_id="train-0-0",
        agent="student",
        messages=(user("1+1?"), assistant("\\boxed{2}")),
        opening=1,
        ending=Ending.ANSWERED,
        answer="2",
        correct=right,
    )
    reward = Breakdown(total=1.0, terms={"correct": TermScore(score=1.0, value=1.0)})
    return Scored(trajectory=made, reward=reward if right else Breakdown(total=0.1, gate="correct")).to_json()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with the sparse reward: one step of one group, one of its two rollouts right."""
    monkeypatch.chdir(tmp_path)
    registry = default_registry()
    changes = {"reward": "sparse", "train.0.steps": 1, "train.0.problems": 1, "train.0.group": 2}
    recipe = to_yaml(expanded(load_checked("quickstart", changes, registry), registry))
    folder = RunFolder.create(tmp_path / "runs", "made", recipe)
    (folder.rollouts / "0-grpo").mkdir(parents=True)
    file = folder.rollouts_of("0-grpo", 1)
    file.write_text(f"{rollout(0, right=True)}\n{rollout(1, right=False)}\n")
    return folder


def rescore(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run_app(["rescore", *arguments])
    return int(code), *capsys.readouterr()


def test_a_table_for_people(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, errors = rescore(capsys, "made", "--reward", "mentor-no-match", "--show", "1")
    assert (code, errors) == (0, "")
    assert "sparse (own)" in said
    assert "mentor-no-match pays less" in said
    assert "step 1, train-0-0, attempt 1" in said
    assert max(map(len, said.splitlines())) <= 80
    assert (run.path / "rescore" / "rollouts.json").is_file()


def test_json_for_programs(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = rescore(capsys, "made", "--set", "reward.right=2", "--json", "--no-keep")
    found = json.loads(said)
    assert code == 0
    assert [(each["own"], each["mean"], each["zero_variance"]) for each in found["rewards"]] == [
        (True, 0.55, 0.0),
        (False, 1.05, 0.0),
    ]
    assert found["reproduction"]["exact"] is True
    assert not (run.path / "rescore").exists()


def test_the_code_says_that_the_own_reward_differs(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    file = run.rollouts_of("0-grpo", 1)
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1]["reward"]["total"] = 0.2
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code, said, _ = rescore(capsys, "made", "--reward", "sparse")
    assert code == 1
    assert "train-0-0#1" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("made", "--reward", "sparze"),
        ("made", "--reward", "3"),
        ("made", "--set", "train.0.steps=3"),
        ("made", "--set", "reward.rihgt=1"),
        ("made", "--steps", "9-3"),
        ("made", "--steps", "-3"),
        ("made", "--steps", "5-9"),
        ("made", "--evaluations"),
    ],
)
def test_wrong_arguments(run: RunFolder, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    code, said, errors = rescore(capsys, *arguments)
    assert (code, said) == (2, "")
    assert errors.startswith("error: ")
