"""Whole runs that distil: one shipped tiny student learns from the other; nothing is faked."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from mentor_kit import api
from mentor_kit.core.errors import Interrupted, UsageError
from mentor_kit.core.event import Event
from mentor_kit.hooks import Tracker
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.runs import Run, RunFolder

SMALL = [
    *("student.model=tiny-blank", "backend.threads=1", "backend.device=cpu", "rollout.max_turn_tokens=8"),
    *("rollout.max_turns=2", "evaluate.at_start=false", "evaluate.at_end=false", "evaluate.every=0"),
    *("train.0.steps=3", "train.0.problems=2", "train.0.group=3", "checkpoints.every=1"),
    *("train.0.teacher={use: local, with: {model: tiny-student}}", "train.0.optimizer.lr=2e-3"),
]


def run(output: Path, *overrides: str, trackers: Sequence[Tracker] = ()) -> Run:
    return api.run("quickstart", overrides=parse_settings([*SMALL, *overrides]), output=output, trackers=trackers)


def weights(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.student.iterdir())}


def steps(run: Run) -> list[dict[str, object]]:
    timed = ("seconds", "seconds_rollout", "seconds_update", "tokens_per_second", "time")
    return [{name: value for name, value in step.items() if name not in timed} for step in run.steps]


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    mixed = "train.0.objective={preset: sod}"
    whole = run(tmp_path / "whole", mixed)

    class Stop(Tracker):
        def event(self, event: Event) -> None:
            if event.kind == "step" and event.step == 1:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        run(tmp_path / "parts", mixed, trackers=[Stop()])
    (folder,) = RunFolder.all(tmp_path / "parts", "quickstart")
    resumed = api.resume(Run(folder))
    assert len(whole.steps) == 3
    assert steps(resumed) == steps(whole)
    assert weights(resumed) == weights(whole)


def test_a_student_comes_nearer_to_its_teacher(tmp_path: Path) -> None:
    """With neither a reward nor demonstrations; here the skilled one takes after the blank one, which is quicker."""
    alone = ("reward=null", "teacher=null", "train.0.objective={preset: opd}", "train.0.steps=10", "train.0.group=8")
    swapped = ("student.model=tiny-student", "train.0.teacher={use: local, with: {model: tiny-blank}}")
    found = run(tmp_path, *alone, *swapped)
    far = [step["teacher_kl"] for step in found.steps]
    assert far[-1] < 0.9 * far[0]
    assert found.demonstrations() == []


def test_a_teacher_with_other_tokens_is_refused_before_the_first_step(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from mentor_kit.core.component import ComponentSpec
    from mentor_kit.hooks import default_registry
    from mentor_kit.hooks.registry import BuildContext

    registry = default_registry()
    shipped = registry.build("students", ComponentSpec(use="tiny-student"), BuildContext(registry))
    tokenizer = AutoTokenizer.from_pretrained(shipped)
    tokenizer.add_tokens(["<extra>"])
    student = tmp_path / "student"
    tokenizer.save_pretrained(student)
    for path in Path(shipped).iterdir():
        if not path.name.startswith("tokenizer"):
            (student / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match=r"'tiny-student' has another tokenizer .* such as '<extra>', which is"):
        run(tmp_path / "runs", f"student.model={student}", "train.0.objective={preset: opd}")
    assert RunFolder.all(tmp_path / "runs", "quickstart") == []
