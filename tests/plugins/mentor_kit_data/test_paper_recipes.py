"""The paper's recipes: checked without a hub, each run with the tiny student over five rows in the authors' format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from authors_sample import ROWS, write_sample

import mentor_kit
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.loading import find_recipe
from mentor_kit.recipe.settings import parse_settings

STUDENTS = {
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B",
}
REWARDS = {
    "mentor": "mentor",
    "sparse": "sparse",
    "ablation-2": "mentor-overlap",
    "ablation-3": "mentor-no-match",
    "ablation-4": "mentor-f1",
}
ARMS = [*REWARDS, "sft"]
#: What makes a run of the paper's small: the tiny student, one step, and short episodes.
SMALL = [
    "student={model: tiny-student}",
    "backend={use: torch, with: {device: cpu, threads: 1}}",
    "rollout={max_turns: 4, max_turn_tokens: 64, max_response_tokens: 256, max_result_tokens: 32, system: null}",
    "task.with.system=''",
    "evaluate={at_start: false, at_end: true, on: [{split: in-domain, problems: 5}]}",
    "train.0.steps=1",
]
#: With so low a rate the later of a step's four updates see the weights that sampled.
ONE_STEP = ["train.0.problems=2", "train.0.group=4", "train.0.optimizer.lr=1e-9"]


def test_every_student_and_arm_has_its_recipe() -> None:
    folder = find_recipe("paper/base").parent
    assert {path.parent.name for path in folder.glob("*/*.yaml")} == set(STUDENTS)
    for student in STUDENTS:
        assert {path.stem for path in (folder / student).glob("*.yaml")} == set(ARMS)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("student", STUDENTS)
def test_the_settings_are_the_papers(student: str, arm: str) -> None:
    """Against what the authors' configuration and scripts run (docs/paper.md)."""
    recipe = load_checked(f"paper/{student}/{arm}", {}, default_registry()).recipe
    assert recipe.student.model == STUDENTS[student]
    assert recipe.rollout.max_turns == 5
    assert 8192 <= recipe.rollout.max_response_tokens <= 12000
    assert (recipe.rollout.temperature, recipe.rollout.top_k, recipe.rollout.top_p) == (0.6, 20, 0.95)
    assert recipe.backend.options["max_context"] == 1536 + recipe.rollout.max_response_tokens
    (stage,) = recipe.train
    if arm == "sft":
        assert stage.use == "sft"
        return
    reward: Any = recipe.reward
    assert (stage.use, reward.use) == ("grpo", REWARDS[arm])
    assert (stage.options["problems"], stage.options["group"], stage.options["minibatches"]) == (32, 10, 4)
    objective = stage.options["objective"]
    assert (objective["kl"], objective["kl_estimator"], objective["kl_in"]) == (0.001, "k3", "loss")
    assert (objective["aggregation"], objective["entropy"]) == ("token", 0.001)
    assert objective["loss"] == {"use": "ppo", "with": {"clip_low": 0.2, "clip_high": 0.2, "clip_dual": 3.0}}
    optimizer = stage.options["optimizer"]
    assert (optimizer["lr"], optimizer["schedule"]) == (1e-6, "constant")
    assert (optimizer["weight_decay"], optimizer["clip"]) == (0.01, 1.0)


def test_a_check_needs_no_hub_and_no_data() -> None:
    """The command itself, with addresses that lead nowhere."""
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "mentor_kit.cli", "check", "paper/qwen3-8b/mentor"]
    done = subprocess.run([*command, "--no-look"], env={**os.environ, **nowhere}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(command, env={**os.environ, **nowhere}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("train.parquet; paths are relative to") == 2  # the task's and the teacher's


def run(name: str, data: Path, output: Path, *settings: str) -> tuple[list[dict[str, Any]], Path]:
    """The events of a small run, and its folder."""
    made = mentor_kit.run(name, overrides=parse_settings([f"folder={data}", *SMALL, *settings]), output=output)
    folder = made.folder.path
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()], folder


def steps_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["values"] for event in events if event["kind"] == "step"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_sample(folder)
    return folder


def test_mentor_runs_over_the_authors_format(data: Path, tmp_path: Path) -> None:
    events, folder = run("paper/qwen3-1.7b/mentor", data, tmp_path, *ONE_STEP)
    check_step(events, folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:samples are drawn")
@pytest.mark.parametrize("arm", REWARDS)
@pytest.mark.parametrize("student", STUDENTS)
def test_each_arm_runs(student: str, arm: str, data: Path, tmp_path: Path) -> None:
    check_step(*run(f"paper/{student}/{arm}", data, tmp_path, *ONE_STEP))


def check_step(events: list[dict[str, Any]], folder: Path) -> None:
    (step,) = steps_of(events)
    assert step["mismatch_max"] < 1e-3
    rollouts = [json.loads(line) for path in folder.glob("rollouts/*/step-*.jsonl") for line in path.open()]
    assert len(rollouts) == 8
    (report,) = [json.loads(path.read_text()) for path in (folder / "evaluation").glob("*.json")]
    assert report["problems"] == len(ROWS)
    assert (folder / "student" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("student", STUDENTS)
def test_sft_imitates_what_collect_wrote(student: str, data: Path, tmp_path: Path) -> None:
    """The teacher is the tiny student itself, behind no server; of eight attempts one is right sometimes."""
    teacher = "teacher={use: local, with: {model: tiny-student, attempts: 8, temperature: 1.0}}"
    collect = [setting for setting in SMALL if not setting.startswith(("train", "evaluate"))]
    made = mentor_kit.run(
        "paper/collect",
        overrides=parse_settings([f"folder={data}", *collect, teacher]),
        output=tmp_path,
    )
    shown = made.folder.path / "demonstrations.jsonl"
    assert shown.read_text().count("\n") > 0
    (data / "demonstrations.jsonl").write_text(shown.read_text())
    events, folder = run(f"paper/{student}/sft", data, tmp_path, "train.0.batch=5")
    (step,) = steps_of(events)
    assert step["demonstrations"] == shown.read_text().count("\n")
    assert (folder / "student" / "model.safetensors").is_file()


def test_the_document_names_every_recipe() -> None:
    text = (Path(__file__).parents[3] / "docs" / "paper.md").read_text(encoding="utf-8")
    for name in [*STUDENTS, *ARMS, *REWARDS.values()]:
        assert re.search(rf"`[\w./…-]*{re.escape(name)}[\w./-]*`", text), name
