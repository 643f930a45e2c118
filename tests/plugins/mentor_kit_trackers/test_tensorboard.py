"""TensorBoard's event files have what the run's events have, however often the run was killed."""

from __future__ import annotations

import signal
from datetime import datetime
from pathlib import Path

import pytest
from tracked import Curves, begin, events, expected, notes, tracked
from tracked_run import DIAGNOSIS, Request
from tracker_files import event_file


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("events.out.tfevents.*")
    return path


def same(found: Curves, wanted: Curves) -> bool:
    """Whether curves are the same to the precision of TensorBoard's files, float32."""
    return found.keys() == wanted.keys() and all(
        [step for step, _ in found[name]] == [step for step, _ in wanted[name]]
        and [value for _, value in found[name]] == pytest.approx([value for _, value in wanted[name]], abs=1e-6)
        for name in wanted
    )


def test_the_event_file_has_the_runs_own_numbers_and_rollouts(tmp_path: Path) -> None:
    run = begin(tmp_path)
    done = tracked(Request(str(run), "tensorboard", {"rollouts": {"every": 2, "problems": 1}}), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    scalars, texts = event_file(only_file(run / "tensorboard"))
    assert same(scalars, expected(run))
    assert [step for step, _ in scalars["grpo/reward"]] == [1, 2, 3, 4]
    rollouts = texts["grpo/rollouts/text_summary"]
    assert [step for step, _ in rollouts] == [1, 2, 4]
    # both rollouts of the problem, and the teacher's demonstration
    assert all(text in rollouts[0][1] for text in ("p1#0", "p1#1", "add(a=1, b=1)", "teacher"))
    assert "name: quick" in texts["recipe/text_summary"][0][1]
    ((step, text),) = texts["messages/equal-rewards/text_summary"]
    assert (step, DIAGNOSIS["advice"] in text) == (3, True)
    assert [note for note in notes(run) if "tensorboard --logdir runs" in note]


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_killed_and_resumed_run_has_each_step_once(tmp_path: Path, kill_after: int) -> None:
    """Killed before its first checkpoint, and one step after it."""
    run, logs = begin(tmp_path), tmp_path / "logs"
    options = {"folder": str(logs)}
    killed = tracked(Request(str(run), "tensorboard", options, kill_after=kill_after), tmp_path)
    assert killed.returncode == -signal.SIGKILL
    # the files of other runs are left alone
    (logs / "other").mkdir(parents=True, exist_ok=True)
    (logs / "other" / "events.out.tfevents.1").write_bytes(b"")
    assert tracked(Request(str(run), "tensorboard", options), tmp_path).returncode == 0
    scalars, texts = event_file(only_file(logs / "quick" / "1"))
    assert same(scalars, expected(run))
    assert [step for step, _ in texts["grpo/rollouts/text_summary"]] == [1]
    assert [step for step, _ in texts["grpo/evaluation/in-domain/rollouts/text_summary"]] == [0, 2, 4]
    assert (logs / "other" / "events.out.tfevents.1").exists()


@pytest.mark.slow
def test_tensorboard_itself_reads_the_same(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = begin(tmp_path)
    killed = tracked(Request(str(run), "tensorboard", kill_after=3), tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert tracked(Request(str(run), "tensorboard"), tmp_path).returncode == 0
    read = accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    scalars = {tag: [(found.step, found.value) for found in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    assert same(scalars, expected(run))
    # a point's time is its event's
    time = next(event["time"] for event in events(run) if event["kind"] == "step")
    assert read.Scalars("grpo/reward")[0].wall_time == pytest.approx(datetime.fromisoformat(time).timestamp(), abs=1e-3)
    assert [found.step for found in read.Tensors("grpo/rollouts/text_summary")] == [1]


@pytest.mark.slow
def test_metrics_can_be_left_out(tmp_path: Path) -> None:
    run = begin(tmp_path)
    options = {"exclude": ["*/evaluation/*", "*seconds"], "rollouts": {"every": 0, "episodes": 0}}
    assert tracked(Request(str(run), "tensorboard", options), tmp_path).returncode == 0
    scalars, texts = event_file(only_file(run / "tensorboard"))
    assert set(scalars) == {"grpo/reward", "grpo/reward/correct", "grpo/clipped"}
    assert not [tag for tag in texts if "rollouts" in tag]
