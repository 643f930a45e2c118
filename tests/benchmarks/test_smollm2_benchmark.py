"""What `make smollm2` does, with the tiny student for a few steps: it is stopped, goes on, and keeps the outcomes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext
from mentor_kit.hooks.loader import default_registry
from mentor_kit.runs import Run

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
smollm2 = pytest.importorskip("smollm2", reason="the benchmarks are not there")
tables = pytest.importorskip("evidence_tables")
outcomes = pytest.importorskip("outcomes")

SPLITS = ("in-domain", "out-of-domain", "cross-domain")
SMALL = (
    "train.0.steps=8",
    "student.chat_template=null",
    "student.adapter=null",
    "rollout.system=null",
    "checkpoints.every=1",
    f"evaluate.on=[{', '.join(f'{{split: {split}, problems: 3}}' for split in SPLITS)}]",
)


def command(output: Path) -> list[str]:
    registry = default_registry()
    student = registry.build("students", ComponentSpec(use="tiny-student"), BuildContext(registry=registry))
    asked = [
        "--output",
        str(output),
        "--outcomes",
        str(output),
        "--model",
        str(student),
        "--threads",
        "1",
        "--bfcl",
        "2",
    ]
    asked += ["--seeds", "1", "--arms", "mentor", *(word for setting in SMALL for word in ("--set", setting))]
    return [sys.executable, str(BENCHMARKS / "smollm2.py"), *asked]


def stopped_after_a_step(output: Path) -> int:
    """Start the driver, stop it when its first run has made a step, and return its exit code."""
    with subprocess.Popen(command(output), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not any('"kind": "step"' in file.read_text() for file in output.rglob("events.jsonl")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
        assert "goes on from here" in said
        return process.returncode


def runs_by_arm(output: Path) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for file in sorted(output.rglob("events.jsonl")):
        run = Run.open(file.parent)
        found.setdefault(run.name, []).append(run)
    return found


def test_a_seed_is_finished_before_the_next_and_the_control_has_one(tmp_path: Path) -> None:
    plan = smollm2.Plan(tmp_path, tmp_path, outcomes.Study("smollm2", tmp_path), arms=("mentor", "sft", "permuted"))
    assert plan.runs == [
        ("mentor", 0), ("sft", 0), ("permuted", 0), ("mentor", 1), ("sft", 1), ("mentor", 2), ("sft", 2)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_driver_that_was_stopped_goes_on_and_keeps_what_runs_report(tmp_path: Path) -> None:
    assert stopped_after_a_step(tmp_path) == 130
    (begun,) = runs_by_arm(tmp_path)["smollm2-cold-start"]
    assert begun.outcome == "interrupted"
    done = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runs = runs_by_arm(tmp_path)
    # the run that was stopped is the one that was finished
    assert [run.path for run in runs["smollm2-cold-start"]] == [begun.path]
    assert Counter(step["step"] for step in Run.open(begun.path).steps) == dict.fromkeys(range(1, 9), 1)
    assert {name: len(found) for name, found in runs.items()} == dict.fromkeys(
        ("smollm2-cold-start", "smollm2-mentor", "smollm2-pretrained"), 1
    ) | {"smollm2-bfcl": 3}
    check_outcomes(outcomes.Study("smollm2", tmp_path), runs)
    again = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (0, "")  # nothing is run or merged twice


def check_outcomes(study: Any, runs: dict[str, list[Run]]) -> None:
    """Numbers that are computed from the kept rows are those of the runs' own reports."""
    found = tables.Outcomes(study.episodes)
    arms = ("cold-start", "mentor", "pretrained")
    assert found.arms(arms) == list(arms)
    assert found.splits == [*SPLITS, "multiple", "simple_python"]
    for arm in arms:
        (run,) = runs[f"smollm2-{arm}"]
        for report in run.evaluations:
            assert sorted(found.by_seed(arm, report["split"], "greedy")[0]) == sorted(report["outcomes"])
            for kind in ("greedy", "sampled"):
                value, _ = tables.accuracy(found.by_seed(arm, report["split"], kind))
                assert value == pytest.approx(report[kind]["accuracy"])
            own = tables.strategy(found.episodes(arm, report["split"], "greedy"))
            names = {"needless": "needless_calls", "missing": "missing_calls", "order": "teacher_order",
                     "recovered": "recovery_rate", "calls_per_right": "calls_per_right_answer"}  # fmt: skip
            expected = {name: report[key] for name, key in names.items() if key in report}
            assert own == pytest.approx(expected | {"similarity": report["similarity"]})
    (run,) = runs["smollm2-mentor"]
    kept = {row["step"]: row["accuracy"] for row in study.training}
    assert kept == pytest.approx({step["step"]: step["accuracy"] for step in run.steps})
