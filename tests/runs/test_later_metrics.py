"""A checkpoint that is told of its metrics after it was saved."""

from __future__ import annotations

import json

from run_helpers import Counter

from mentor_kit.runs import Keep, RecordOptions, Run, RunContext, RunFolder, RunRecorder

STAGES = ("0-sft", "1-grpo")


def test_metrics_that_come_later_leave_the_policy_as_it_was_saved(folder: RunFolder) -> None:
    student = Counter()
    options = RecordOptions(keep=Keep(1, "greedy"))
    with RunRecorder(folder, options) as recorder:
        recorder.start(student, {}, STAGES)
        context = RunContext(recorder, "0-sft", is_first=True)
        for step, metric in ((1, 0.5), (2, 0.9), (3, 0.1)):
            student.learn(step)
            context.emit("step", step=step, steps=3)
            context.checkpoint(step, {"step": step, "waits": True})
            saved = Run(folder).checkpoints(options.keep).find(f"0-sft-step-00000{step}")
            assert (dict(saved.metrics), saved.state) == ({}, {"step": step, "waits": True})
            student.value += 1000  # what the evaluation does to the student is nobody's affair
            context.emit("evaluation", step=step, split="in-domain")
            context.checkpoint(step, {"step": step}, metrics={"greedy": metric})
            student.value -= 1000
    found = Run(folder).checkpoints(options.keep)
    assert [checkpoint.step for checkpoint in found.all()] == [2, 3]
    best, last = found.best(), found.latest()
    assert best is not None
    assert last is not None
    assert (best.step, best.number, dict(best.metrics), best.state) == (2, 2, {"greedy": 0.9}, {"step": 2})
    assert json.loads((last.policy / "weights.json").read_text()) == student.value
    # a run that goes on from there has the evaluation in its record
    other = Counter()
    with RunRecorder(folder, options) as recorder:
        recorder.start(other, {}, STAGES)
        assert RunContext(recorder, "0-sft", is_first=True).resumed() == {"step": 3}
    assert other.value == student.value
    kinds = [event.kind for event in Run(folder).events]
    assert kinds.count("evaluation") == 3


def test_a_step_that_is_saved_again_with_other_weights_has_those(folder: RunFolder) -> None:
    student = Counter()
    with RunRecorder(folder) as recorder:
        recorder.start(student, {}, STAGES)
        context = RunContext(recorder, "0-sft", is_first=True)
        for value, metrics in ((1, None), (2, None), (3, {"a": 1.0}), (4, {"a": 2.0})):
            student.value = value
            context.emit("step", step=1, steps=1)
            context.checkpoint(1, {"step": 1}, metrics=metrics)
            saved = recorder.checkpoints.find("last")
            assert json.loads((saved.policy / "weights.json").read_text()) == value
