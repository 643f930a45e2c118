from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mentor_kit.runs import RunFolder, RunRecorder
from mentor_kit.runs.listing import RunLister
from mentor_kit.runs.lock import FolderLock

START = '{"kind": "run_start", "time": "2026-01-02T03:04:05.000+00:00", "values": {"stages": ["0-sft", "1-grpo"]}}'
NOTE = '{"kind": "note", "time": "2026-01-02T03:04:06.000+00:00", "values": {"text": "x"}}'


def step(number: int, stage: str = "1-grpo") -> str:
    return json.dumps(
        {"kind": "step", "time": f"2026-01-02T03:05:{number:02d}.000+00:00", "stage": stage, "step": number,
         "values": {"steps": 9, "reward": 0.5}}
    )  # fmt: skip


def evaluation(number: int, **values: object) -> str:
    return json.dumps(
        {"kind": "evaluation", "time": "2026-01-02T03:06:00.000+00:00", "stage": "1-grpo", "step": number,
         "values": values}
    )  # fmt: skip


def end(outcome: str) -> str:
    return json.dumps({"kind": "run_end", "time": "2026-01-02T03:07:00.000+00:00", "values": {"outcome": outcome}})


def made(root: Path, *lines: str, name: str = "quick", hour: int = 3) -> RunFolder:
    folder = RunFolder.create(root, name, f"name: {name}\n", now=datetime(2026, 1, 2, hour, 4, 5, tzinfo=UTC))
    folder.events.write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("outcome", "state"), [("done", "done"), ("interrupted", "stopped"), ("failed", "failed"), (None, "killed")]
)
def test_a_run_by_hand(tmp_path: Path, outcome: str | None, state: str) -> None:
    sampled = {"accuracy": 0.1, "low": 0.0, "high": 0.2}
    lines = [
        START, step(4, "0-sft"), NOTE, step(1), evaluation(1, plan="first", greedy={"accuracy": 0.9}), step(2),
        evaluation(2, plan="dev", split="dev", greedy={"accuracy": 0.25, "low": 0.1, "high": 0.4}, sampled=sampled),
    ]  # fmt: skip
    folder = made(tmp_path, *lines, *([end(outcome)] if outcome else []))
    (folder.rollouts / "1-grpo").mkdir(parents=True)
    (folder.rollouts / "1-grpo" / "step-000001.jsonl").write_bytes(b"x" * 1000)
    [run] = RunLister(tmp_path).list()
    assert (run.key, run.path, run.state, run.fault) == (folder.key, folder.path, state, "")
    assert (run.stage, run.step, run.steps) == ("1-grpo", 2, 9)
    found = run.accuracy
    assert found is not None
    assert (found.plan, found.kind, found.step) == ("dev", "greedy", 2)
    assert (found.accuracy, found.low, found.high) == (0.25, 0.1, 0.4)
    assert run.bytes == sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
    assert run.started == "2026-01-02T03:04:05.000+00:00"
    assert run.age(datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)) == 3600
    assert run.updated == ("2026-01-02T03:07:00.000+00:00" if outcome else "2026-01-02T03:06:00.000+00:00")


def test_a_run_in_progress_is_running_and_is_read_again_when_something_is_new(tmp_path: Path) -> None:
    folder, lister = RunFolder.create(tmp_path, "quick", "x"), RunLister(tmp_path)
    with RunRecorder(folder) as recorder:
        assert (lister.list()[0].state, lister.list()[0].step) == ("running", 0)
        recorder.emit("step", "0-grpo", {"step": 3, "steps": 5})
        assert (lister.list()[0].state, lister.list()[0].step) == ("running", 3)
    assert lister.list()[0].state == "done"
    lock = FolderLock(folder.path)
    lock.acquire()
    assert lister.list()[0].state == "running"
    lock.release()
    assert lister.list()[0].state == "done"


def test_where_nothing_is_greedy_it_is_the_sampled_accuracy(tmp_path: Path) -> None:
    made(tmp_path, START, evaluation(0, split="dev", sampled={"accuracy": 0.5}))
    found = RunLister(tmp_path).list()[0].accuracy
    assert found is not None
    assert (found.plan, found.kind, found.accuracy, found.low) == ("dev", "sampled", 0.5, None)


def test_the_newest_come_first(tmp_path: Path) -> None:
    middle, new, old = (made(tmp_path, name=name, hour=hour) for name, hour in (("b", 4), ("a", 5), ("c", 3)))
    assert [run.id for run in RunLister(tmp_path).list()] == [new.id, middle.id, old.id]
    assert [run.id for run in RunLister(tmp_path).list(2)] == [new.id, middle.id]


def test_broken_folders_are_named_and_others_are_left_out(tmp_path: Path) -> None:
    good = made(tmp_path, START, end("done"), hour=9)
    for place in ("notes/plots", "quick/.new-20260102-030405-0000", "quick/figures"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "README").write_text("")
    (tmp_path / "quick" / "20260102-000000-0000").mkdir()
    (tmp_path / "quick" / "mine").mkdir()
    (tmp_path / "quick" / "mine" / "events.jsonl").write_text("")
    broken = {
        "empty": ("", f"{START}\n"),
        "garbage": ("x", "\x00\x01\n"),
        "half": ("x", '{"kind": "run_start"}\n'),
        "step": ("x", '{"kind": "step", "time"\n'),
        "end": ("x", '{"kind": "run_end", "time": "2026", "values": {}}\n'),
        "time": ("x", '{"kind": "run_start", "time": "last week", "values": {}}\n'),
        "zone": ("x", '{"kind": "run_start", "time": "2026-01-02T03:04:05", "values": {}}\n'),
    }
    for name, (recipe, events) in broken.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "recipe.yaml").write_text(recipe)
        (tmp_path / name / "1" / "events.jsonl").write_text(events)
    (tmp_path / "folder" / "1" / "events.jsonl").mkdir(parents=True)
    (tmp_path / "folder" / "1" / "recipe.yaml").write_text("x")
    found = {run.key: run for run in RunLister(tmp_path).list()}
    assert all(run.age() is not None for run in found.values())
    faulty = {f"{name}/1" for name in broken} | {"quick/20260102-000000-0000", "quick/mine", "folder/1"}
    assert {key for key, run in found.items() if run.fault} == faulty
    assert set(found) - faulty == {good.key}
    assert found["empty/1"].fault == "its recipe.yaml is empty"
    assert found["half/1"].fault.startswith("events.jsonl:1: ")
    json.dumps([run.to_json() for run in found.values()])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_costs_only_itself(tmp_path: Path) -> None:
    good, closed = made(tmp_path, START), made(tmp_path, START, name="closed")
    closed.path.chmod(0)
    try:
        found = {run.key: run.fault for run in RunLister(tmp_path).list()}
    finally:
        closed.path.chmod(0o755)
    assert found[good.key] == ""
