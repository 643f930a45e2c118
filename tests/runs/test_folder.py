from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mentor_kit.core.errors import DataError, MentorKitError, UsageError
from mentor_kit.runs import Run, RunFolder
from mentor_kit.runs.files import tidy, write_folder, write_text
from mentor_kit.runs.lock import FolderLock, is_locked

NOW = datetime(2026, 11, 24, 13, 45, 1, tzinfo=UTC)


def test_ids_sort_by_time_and_the_last_run_is_found(tmp_path: Path) -> None:
    late = RunFolder.create(tmp_path, "quick", "b", now=NOW.replace(hour=14))
    early = RunFolder.create(tmp_path, "quick", "a", now=NOW)
    assert early.id.startswith("20261124-134501-")
    assert len(early.id) == len("20261124-134501-a3f9")
    assert early.id < late.id
    assert RunFolder.last(tmp_path, "quick") == late
    assert RunFolder.find("quick", tmp_path) == late
    assert RunFolder.find(f"quick/{early.id}", tmp_path) == early
    assert RunFolder.find(early.path, tmp_path / "elsewhere") == early
    assert RunFolder.find(tmp_path / "quick", tmp_path / "elsewhere") == late


def test_a_name_means_the_newest_run_that_suits(tmp_path: Path) -> None:
    runs = [RunFolder.create(tmp_path, "quick", "x", now=NOW.replace(hour=hour)) for hour in (1, 2, 3, 4)]
    for name, root in (("quick", tmp_path), (tmp_path / "quick", tmp_path / "elsewhere")):
        assert RunFolder.find(name, root, lambda run: run in runs[:3]) == runs[2]
        assert RunFolder.find(name, root, lambda run: False) == runs[3]
    # one that is named itself is meant, whether it suits or not
    assert RunFolder.find(f"quick/{runs[0].id}", tmp_path, lambda run: run == runs[1]) == runs[0]


@pytest.mark.parametrize(
    ("events", "trains"),
    [
        ([], False),
        ([("run_start", [])], False),
        ([("run_start", ["1-grpo"])], True),
        ([("run_start", ["1-grpo"]), ("run_resume", [])], False),
        ([("run_start", []), ("run_resume", ["0-a-strangers-stage"])], True),
    ],
)
def test_whether_a_run_trains_is_recorded_when_it_starts(
    tmp_path: Path, events: list[tuple[str, list[str]]], trains: bool
) -> None:
    run = Run(RunFolder.create(tmp_path, "quick", "name: quick\n"))
    lines = [json.dumps({"kind": kind, "time": "t", "values": {"trains": keys}}) + "\n" for kind, keys in events]
    run.folder.events.write_text("".join(lines))
    assert run.trains is trains
    assert not run.has_checkpoint


@pytest.mark.parametrize(
    ("recipe", "ask", "message"),
    [
        (b"\xff", lambda run: run.recipe, "recipe.yaml cannot be read"),
        (b"- a\n", lambda run: run.recipe, "recipe.yaml is no recipe"),
        (b"seed: abc\n", lambda run: run.seed, "recipe.yaml: the seed is no whole number: 'abc'"),
        (b"seed: 1\n", lambda run: run.events, "events.jsonl cannot be read"),
        (b"seed: 1\n", lambda run: run.evaluations, "0-grpo-000001-in-domain.json is no evaluation report"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, recipe: bytes, ask: Callable[[Run], object], message: str) -> None:
    folder = RunFolder.create(tmp_path, "quick", "name: quick\n")
    folder.recipe.write_bytes(recipe)
    folder.events.mkdir()
    folder.evaluation.mkdir()
    (folder.evaluation / "0-grpo-000001-in-domain.json").write_text('"text"')
    with pytest.raises(DataError, match=message):
        ask(Run(folder))


def test_runs_of_the_same_second_keep_their_order(tmp_path: Path) -> None:
    runs = [RunFolder.create(tmp_path, "quick", "x", now=NOW) for _ in range(8)]
    for number, run in enumerate(runs):
        os.utime(run.recipe, ns=(number, number))
    assert RunFolder.all(tmp_path, "quick") == runs


def test_a_wrong_name_is_explained(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "quickstart", "x")
    with pytest.raises(UsageError, match="did you mean 'quickstart'"):
        RunFolder.find("quickstrat", tmp_path)
    with pytest.raises(UsageError, match="not a run folder"):
        RunFolder.find(tmp_path / "no" / "such", tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x", ".hidden", "a\nb", "a\0", "x" * 201])
def test_names_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        RunFolder.create(tmp_path / "runs", name, "x")
    assert not (tmp_path / "runs").exists()


def test_the_environment_has_versions_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "hunter2-secret")
    heavy = {"torch", "transformers"} & set(sys.modules)
    text = RunFolder.create(tmp_path, "quick", "x").environment.read_text()
    found = json.loads(text)
    assert found["packages"]["numpy"] == __import__("numpy").__version__
    assert "mentor-kit" in found["packages"]
    assert found["python"].endswith(sys.version.split()[0])
    assert "hunter2" not in text
    assert os.uname().nodename not in json.dumps({**found, "platform": ""})
    assert {"torch", "transformers"} & set(sys.modules) == heavy


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "report.json", "old")

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        MentorKitError, match=r"report\.json: No space left on device \([\d,]+ bytes free there\)"
    ) as found:
        write_text(tmp_path / "report.json", "new")
    assert found.value.hint is not None
    assert "make room" in found.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "old"


def test_room_is_told_where_room_is_what_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(MentorKitError, match=r"report\.json: Permission denied;") as found:
        write_text(tmp_path / "report.json", "new")
    assert "writable" in str(found.value.hint)


def test_a_failed_folder_leaves_the_old_one(folder: RunFolder) -> None:
    folder.write_folder("student", lambda target: (target / "weights").write_text("old") and None)

    def half(target: Path) -> None:
        (target / "weights").write_text("new")
        raise RuntimeError("[Errno 28] No space left on device while writing weights")  # as a library wraps it

    with pytest.raises(MentorKitError, match="student: No space left"):
        folder.write_folder("student", half)
    assert (folder.student / "weights").read_text() == "old"

    def broken(target: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        folder.write_folder("student", broken)
    folder.write_folder("student", lambda target: (target / "other").write_text("new") and None)
    assert [path.name for path in folder.student.iterdir()] == ["other"]


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(MentorKitError, match="cannot write"):
        RunFolder.create(tmp_path / "runs", "quick", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MentorKitError, match="Permission denied"):
        RunFolder.create(tmp_path / "runs", "quick", "x")


def test_what_a_kill_left_is_cleared(folder: RunFolder) -> None:
    write_folder(folder.path / "student", lambda target: (target / "weights").write_text("old") and None)
    # killed while filling, and killed between the two renames of a replacement
    (folder.path / ".new-student").mkdir()
    folder.student.rename(folder.path / ".old-student")
    (folder.path / ".new-recipe.yaml").write_text("half")
    tidy(folder.path)
    assert sorted(path.name for path in folder.path.iterdir()) == ["environment.json", "recipe.yaml", "student"]
    # killed after the new one was in place
    (folder.path / ".old-student").mkdir()
    tidy(folder.path)
    assert (folder.student / "weights").read_text() == "old"
    assert not (folder.path / ".old-student").exists()


HOLDER = """
import sys, time
from pathlib import Path
from mentor_kit.runs.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("locked", flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_taken_over(folder: RunFolder) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert is_locked(folder.path)
        lock = FolderLock(folder.path)
        with pytest.raises(UsageError, match=f"in use by process {holder.pid}"):
            lock.acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_locked(folder.path)
    lock.acquire()
    assert is_locked(folder.path)
    with pytest.raises(UsageError, match="in use"):
        FolderLock(folder.path).acquire()
    lock.release()
    assert not is_locked(folder.path)


LOOKER = """
import sys
from pathlib import Path
from mentor_kit.runs.lock import is_locked
print(sum(is_locked(Path(sys.argv[1])) for _ in range(3000)))
"""


def test_those_who_look_take_nothing(folder: RunFolder) -> None:
    lock = FolderLock(folder.path)
    lock.acquire()
    lock.release()
    command = [sys.executable, "-c", LOOKER, str(folder.path)]
    lookers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    # nobody runs in the folder, and those who look do not see each other
    assert [looker.communicate()[0].strip() for looker in lookers] == ["0", "0"]
