from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_helpers import Counter, demonstration, scored

from mentor_kit.core.errors import DataError, Interrupted, MentorKitError, UsageError
from mentor_kit.core.event import Event
from mentor_kit.hooks import Tracker
from mentor_kit.runs import (
    Checkpoints,
    EventDispatcher,
    Keep,
    RecordOptions,
    Run,
    RunContext,
    RunFolder,
    RunRecorder,
    StopSignal,
    files,
)
from mentor_kit.stages.context import StageContext

STAGES = ("0-sft", "1-grpo")


class Killed(BaseException):
    """Stands for kill -9: nothing gets to clean up."""


def train(context: StageContext, student: Counter, steps: int, die_at: int | None = None, *, shown: set[int]) -> None:
    """A stage that does everything a stage may do with its context."""
    state = context.resumed()
    done = 0 if state is None else int(state["step"])
    for step in range(done + 1, steps + 1):
        if step not in shown:
            context.write_demonstrations([demonstration(step)])
            shown.add(step)
        student.learn(step)
        context.write_rollouts(step, [scored(step), scored(step + 1, correct=False)])
        context.emit("step", step=step, steps=steps, value=student.value)
        if step % 4 == 0:
            report = {"step": step, "stage": context.key, "split": "in-domain", "greedy": {"accuracy": step / 10}}
            context.write_evaluation(f"{context.key}-{step:06d}-in-domain", report, [scored(step)])
            context.emit("evaluation", **report)
        if step == die_at:
            raise Killed
        if context.checkpoint_due(step, steps):
            context.checkpoint(step, {"step": step}, metrics={"greedy": step / 10})
        context.check_stop()


def play(folder: RunFolder, die_at: tuple[str, int] | None = None, *, every: int = 3) -> Counter:
    """A run of two stages, killed after a step if asked to, leaving the folder as a kill would."""
    student = Counter()
    recorder = RunRecorder(folder, RecordOptions(checkpoint_every=every, keep=Keep(2, "greedy")))
    recorder.__enter__()
    try:
        recorder.start(student, {"name": "quick"}, STAGES)
        shown = {int(item.problem_id[1:]) for item in recorder.read_demonstrations()}
        for stage in STAGES:
            if not recorder.is_done(stage):
                at = die_at[1] if die_at is not None and die_at[0] == stage else None
                train(RunContext(recorder, stage, is_first=stage == STAGES[0]), student, 7, at, shown=shown)
    except Killed:
        recorder.events.close()
        recorder.demonstrations.close()
        recorder._lock.release()
    else:
        recorder.__exit__(None, None, None)
    return student


def contents(folder: RunFolder) -> dict[str, Any]:
    """Everything in the folder, without times and without the notes on resuming."""
    found: dict[str, Any] = {}
    for path in sorted(folder.path.rglob("*")):
        if path.is_file() and path.name not in ("environment.json", ".lock"):
            found[str(path.relative_to(folder.path))] = path.read_bytes()
    events = [json.loads(line) for line in folder.events.read_text().splitlines()]
    found["events.jsonl"] = [
        {name: value for name, value in event.items() if name != "time"}
        for event in events
        if event["kind"] not in ("run_start", "run_resume")
    ]
    for name in list(found):
        if name.endswith("state.json"):
            found[name] = {key: value for key, value in json.loads(found[name]).items() if key != "offsets"}
    return found


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("step", range(1, 8))
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, stage: str, step: int) -> None:
    whole, killed = (RunFolder.create(tmp_path / name, "quick", "x") for name in ("whole", "killed"))
    expected = play(whole)
    play(killed, (stage, step))
    # the kill left half-written things behind, too
    with killed.events.open("ab") as file:
        file.write(b'{"kind": "st')
    with killed.demonstrations.open("ab") as file:
        file.write(b'{"problem_id"')
    (killed.checkpoints / ".new-1-grpo-step-000009" / "policy").mkdir(parents=True)
    (killed.rollouts / stage / ".new-step-000099.jsonl").write_text("{")
    assert play(killed).value == expected.value
    assert contents(killed) == contents(whole)
    assert Run(killed).outcome == "done"


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    student = Counter()
    for mode, best in (("max", 3), ("min", 5)):
        checkpoints = Checkpoints(tmp_path / mode, Keep(last=2, metric="accuracy", mode=mode))
        accuracies = {1: 0.2, 2: None, 3: 0.9, 4: 0.9, 5: 0.1, 6: 0.4, 7: float("nan"), 8: None, 9: 0.4}
        for step, accuracy in accuracies.items():
            metrics = {} if accuracy is None else {"accuracy": accuracy}
            checkpoints.save("0-grpo", step, student, {"step": step}, metrics, {})
        assert [found.step for found in checkpoints.all()] == [best, 8, 9]
        found = checkpoints.best()
        assert found is not None
        assert found.step == best
        assert checkpoints.find("best") == found
        assert checkpoints.find("last").step == 9
        assert checkpoints.find("0-grpo-step-000008").step == 8
        with pytest.raises(UsageError, match="no checkpoint 'newest'"):
            checkpoints.find("newest")


def test_only_checkpoints_that_are_there_are_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", Keep(metric="accuracy"))
    with pytest.raises(UsageError, match="has no checkpoint: it trains nothing"):
        checkpoints.find("last")
    checkpoints.save("0-grpo", 1, Counter(), {"step": 1}, {}, {})
    with pytest.raises(UsageError, match="no checkpoint 'best'") as caught:
        checkpoints.find("best")
    assert caught.value.hint == "there are: 0-grpo-step-000001, last"


def test_the_newest_is_newest_whatever_the_stages_are_called(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, Keep(last=9))
    for stage in ("9-sft", "10-grpo", "2-x"):
        checkpoints.save(stage, 1, Counter(), {}, {}, {})
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.stage == "2-x"


def test_a_full_disk_is_told_though_the_library_does_not_and_what_filled_it_is_cleaned_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path) -> None:
        (target / "half").write_text("x")
        raise RuntimeError("unexpected pos 2680064 vs 2679952")  # as torch.save does

    monkeypatch.setattr(files, "_free", lambda path: 1 << 30 if not [*tmp_path.rglob("half")] else 0)
    with pytest.raises(MentorKitError, match="No space left"):
        files.write_folder(tmp_path / "checkpoint", full)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_fails_is_absent_and_unrecorded(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path) -> None:
        (target / "half").write_text("x")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def run_until_full() -> None:
        student = Counter()
        with RunRecorder(folder) as recorder:
            recorder.start(student, {}, STAGES)
            context = RunContext(recorder, "0-sft", is_first=True)
            context.checkpoint(1, {"step": 1})
            monkeypatch.setattr(student, "save", full)
            context.checkpoint(2, {"step": 2})

    with pytest.raises(MentorKitError, match="No space left"):
        run_until_full()
    run = Run(folder)
    assert [event.step for event in run.events if event.kind == "checkpoint"] == [1]
    assert [found.step for found in run.checkpoints().all()] == [1]
    assert [path.name for path in folder.checkpoints.iterdir()] == ["0-sft-step-000001"]
    assert run.outcome == "failed"
    assert "No space left" in run.events[-1].values["error"]


def test_a_checkpoint_with_an_unreadable_state_is_named(folder: RunFolder) -> None:
    (folder.checkpoints / "0-sft-step-000001").mkdir(parents=True)
    (folder.checkpoints / "0-sft-step-000001" / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"0-sft-step-000001.*cannot be read"):
        Checkpoints(folder.checkpoints).latest()


def test_resuming_with_another_recipe_is_refused(folder: RunFolder) -> None:
    play(folder)
    with pytest.raises(UsageError, match="stage '1-grpo'"), RunRecorder(folder) as recorder:
        recorder.start(Counter(), {}, ("0-evaluate",))


def test_only_one_at_a_time(folder: RunFolder) -> None:
    with RunRecorder(folder), pytest.raises(UsageError, match="in use"), RunRecorder(folder):
        pass
    with RunRecorder(folder):
        assert Run(folder).outcome == "running"


def test_a_stop_waits_for_a_checkpoint(folder: RunFolder) -> None:
    stop = StopSignal()
    seen: list[int] = []

    class Stop(Tracker):
        def event(self, event: Event) -> None:
            if event.kind == "step":
                seen.append(event.step or 0)
                if event.step == 2:
                    stop.request()

    def run() -> None:
        dispatcher = EventDispatcher([Stop()])
        with RunRecorder(folder, RecordOptions(checkpoint_every=100), dispatcher, stop) as recorder:
            recorder.start(Counter(), {}, STAGES)
            train(RunContext(recorder, "0-sft", is_first=True), Counter(), 7, shown=set())

    with pytest.raises(Interrupted, match="stopped") as stopped:
        run()
    assert stopped.value.exit_code == 130
    assert str(folder.path) in str(stopped.value.hint)
    assert seen == [1, 2]
    assert Run(folder).outcome == "interrupted"
    assert [found.step for found in Run(folder).checkpoints().all()] == [2]


def test_a_stop_right_after_the_question_whether_to_save_costs_one_step(folder: RunFolder) -> None:
    stop = StopSignal()
    with RunRecorder(folder, RecordOptions(checkpoint_every=0), stop=stop) as recorder:
        recorder.start(Counter(), {}, STAGES)
        context = RunContext(recorder, "0-sft", is_first=True)
        context.emit("step", step=1)
        assert not context.checkpoint_due(1, 9)
        stop.request()
        context.check_stop()
        context.emit("step", step=2)
        assert context.checkpoint_due(2, 9)
        context.checkpoint(2, {"step": 2})
        with pytest.raises(Interrupted):
            context.check_stop()


def test_a_stage_that_never_saves_can_be_stopped(folder: RunFolder) -> None:
    with RunRecorder(folder) as recorder:
        recorder.start(Counter(), {}, STAGES)
        context = RunContext(recorder, "0-sft", is_first=True)
        recorder.stop.request()
        context.emit("step", step=1)
        context.check_stop()
        context.emit("step", step=2)
        with pytest.raises(Interrupted):
            context.check_stop()


def test_the_second_signal_stops_at_once() -> None:
    told: list[bool] = []
    before = signal.getsignal(signal.SIGINT)
    with StopSignal(lambda: told.append(True)) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        assert told == [True]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_python_users_see_the_run(folder: RunFolder) -> None:
    play(folder)
    run = Run.open(folder.path)
    assert (run.name, run.seed) == ("quick", 3)
    assert list(run.metrics["step"]) == [*range(1, 8), *range(1, 8)]
    assert [report["name"] for report in run.evaluations] == ["0-sft-000004-in-domain", "1-grpo-000004-in-domain"]
    assert run.evaluated("0-sft-000004-in-domain") == [scored(4)]
    assert list(run.rollouts("1-grpo", 2)) == [scored(2), scored(3, correct=False)]
    frame = run.trajectories("0-sft")
    assert (len(frame), frame["reward"].mean()) == (14, 0.5)
    assert [item.problem_id for item in run.demonstrations()] == [f"p{number}" for number in range(1, 8)]
    with pytest.raises(DataError, match="no student yet"):
        _ = run.student


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from mentor_kit.runs import RunContext, RunFolder, RunRecorder
from run_helpers import Counter
folder = RunFolder(Path(sys.argv[1]))
class Slow(Counter):
    def save(self, target):
        (target / "half").write_text("x")
        if self.value > 40:
            os.kill(os.getpid(), signal.SIGKILL)
        super().save(target)
student = Slow()
with RunRecorder(folder) as recorder:
    recorder.start(student, {}, ("0-sft",))
    context = RunContext(recorder, "0-sft", is_first=True)
    for step in range(1, 9):
        student.learn(step)
        context.emit("step", step=step)
        context.checkpoint(step, {"step": step})
"""


def test_killed_in_the_middle_of_a_checkpoint(folder: RunFolder) -> None:
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder.path), str(Path(__file__).parent)], capture_output=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    run = Run(folder)
    assert run.outcome == "killed"
    student = Counter()
    with RunRecorder(folder) as recorder:
        found = recorder.start(student, {}, ("0-sft",))
        assert found is not None
        # 1, then 1 * 31 + 2 = 33, then the third is over 40 and killed
        assert (found.step, student.value) == (2, 33)
        assert [event.step for event in run.events if event.kind in ("step", "checkpoint")] == [1, 1, 2, 2]
        assert RunContext(recorder, "0-sft", is_first=True).resumed() == {"step": 2}
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["0-sft-step-000001", "0-sft-step-000002"]
