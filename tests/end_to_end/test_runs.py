"""Whole runs with the shipped tiny student: nothing is faked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.recipe.settings import parse_settings

SMALL = [
    "train.0.steps=3",
    "train.0.problems=4",
    "train.0.group=4",
    "evaluate.every=0",
    "evaluate.on.0.problems=2",
    "evaluate.on.1.problems=3",
    "checkpoints.every=1",
    "backend.threads=1",
]


def mentorkit(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mentor_kit.cli", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def settings(*values: str) -> list[str]:
    return [word for value in (*SMALL, *values) for word in ("--set", value)]


def only_run(root: Path) -> Path:
    (found,) = (root / "runs" / "quickstart").iterdir()
    return found


def weights(run: Path) -> dict[str, bytes]:
    """Every file of the exported student, so that two runs can be compared to the bit."""
    return {path.name: path.read_bytes() for path in sorted((run / "student").iterdir())}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In this process; those that are compared with it run in processes of their own."""
    root = tmp_path_factory.mktemp("uninterrupted")
    return api.run("quickstart", overrides=parse_settings(SMALL), output=root / "runs").path


def test_a_run_leaves_what_it_promises(uninterrupted: Path) -> None:
    assert {path.name for path in uninterrupted.iterdir()} >= {
        "recipe.yaml",
        "environment.json",
        "events.jsonl",
        "demonstrations.jsonl",
        "rollouts",
        "checkpoints",
        "evaluation",
        "student",
    }
    kinds = [json.loads(line)["kind"] for line in (uninterrupted / "events.jsonl").read_text().splitlines()]
    assert kinds.count("step") == 3
    assert kinds.count("evaluation") == 4  # two splits, before and after


def test_the_exported_student_loads_in_transformers_and_is_another_than_before(uninterrupted: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(uninterrupted / "student")
    tokenizer = AutoTokenizer.from_pretrained(uninterrupted / "student")
    from mentor_kit.core.component import ComponentSpec
    from mentor_kit.hooks import default_registry
    from mentor_kit.hooks.registry import BuildContext

    registry = default_registry()
    base = AutoModelForCausalLM.from_pretrained(
        registry.build("students", ComponentSpec(use="tiny-student"), BuildContext(registry=registry))
    )
    ids = torch.tensor([tokenizer.encode("Start with 412. Then add 88.")])
    assert not torch.equal(model(ids).logits, base(ids).logits)


@pytest.mark.slow
def test_the_same_recipe_and_seed_give_the_same_bits(uninterrupted: Path, tmp_path: Path) -> None:
    done = mentorkit("run", "quickstart", *settings(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert weights(only_run(tmp_path)) == weights(uninterrupted)


@pytest.mark.slow
def test_another_seed_gives_another_student(uninterrupted: Path, tmp_path: Path) -> None:
    done = mentorkit("run", "quickstart", *settings("seed=1"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert weights(only_run(tmp_path)) != weights(uninterrupted)


@pytest.mark.parametrize("after", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, tmp_path: Path, after: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mentor_kit.cli", "run", "quickstart", *settings()],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_steps(tmp_path, process, after)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    api.resume(only_run(tmp_path))
    assert weights(only_run(tmp_path)) == weights(uninterrupted)
    assert _steps(only_run(tmp_path)) == _steps(uninterrupted)


@pytest.mark.slow
def test_interrupted_by_the_user_exits_130_and_can_be_resumed(uninterrupted: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mentor_kit.cli", "run", "quickstart", *settings()],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_for_steps(tmp_path, process, 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "--resume" in errors
    done = mentorkit("run", "--resume", str(only_run(tmp_path)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert weights(only_run(tmp_path)) == weights(uninterrupted)


def _wait_for_steps(root: Path, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        found = list((root / "runs" / "quickstart").glob("*/events.jsonl"))
        if found and len(_steps(found[0].parent)) >= count:
            return
        time.sleep(0.05)
    pytest.fail("the run ended before it was interrupted")


def _steps(run: Path) -> list[dict[str, object]]:
    """The recorded steps, without what depends on the clock."""
    events = []
    for line in (run / "events.jsonl").read_text().splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event["kind"] == "step":
            timed = ("seconds", "seconds_rollout", "seconds_update", "tokens_per_second")
            values = {key: value for key, value in event["values"].items() if key not in timed}
            events.append({"step": event["step"], **values})
    return events


@pytest.mark.parametrize("problems", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_the_untrained_student_starts_with_honest_mistakes(problems: int, tmp_path: Path) -> None:
    """It speaks the format: what RL brings is not that its calls can be read. Seen in the transcripts themselves."""
    done = api.evaluate("quickstart", on=["out-of-domain"], changes={"problems": problems}, output=tmp_path)
    (transcripts,) = (done.path / "evaluation").glob("*out-of-domain.jsonl")
    played = [json.loads(line)["trajectory"] for line in transcripts.read_text().splitlines()]
    assert len(played) == 2 * problems  # greedy and sampled
    whole = [
        t["ending"] == "answered"
        and "\\boxed{" in t["messages"][-1]["content"]
        and all(call["state"] in ("executed", "failed") for m in t["messages"] for call in m.get("tool_calls", []))
        for t in played
    ]
    assert sum(whole) >= 0.9 * len(played)
    assert 0.05 <= sum(t.get("correct", False) for t in played) / len(played) <= 0.3
