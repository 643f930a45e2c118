"""Disks that are full, read-only or not ours, and targets of a wrong kind: clear errors, and nothing saved is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.cli.app import run_app
from mentor_kit.core.errors import MentorKitError, UsageError, disk_error
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.runs import Run

SMALL = [
    "rollout={max_turns: 6, max_turn_tokens: 8, max_response_tokens: 256}", "backend.threads=1", "checkpoints.every=1",
    "train.0.steps=2", "train.0.problems=2", "train.0.group=2",
    "evaluate.on=[{split: in-domain, problems: 2, samples: 0}]",
]  # fmt: skip
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


def refuse(patch: pytest.MonkeyPatch, code: int, *, after: int) -> None:
    """Every write to a file fails once so many have been made."""
    made = 0
    real_write, real_open = os.write, Path.open

    def full() -> bool:
        nonlocal made
        made += 1
        return made > after

    def write(handle: int, data: Any) -> int:
        if full():
            raise OSError(code, os.strerror(code))
        return real_write(handle, data)

    def open_(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if set(mode) & set("wax") and full():
            raise OSError(code, os.strerror(code), str(path))
        return real_open(path, mode, *rest, **named)

    patch.setattr(os, "write", write)
    patch.setattr(Path, "open", open_)


@pytest.mark.spread(5)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("after", [0, 1, 2, 4, 7, 10, 15])
def test_a_disk_that_takes_no_more(
    code: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if after > 4 and code != errno.ENOSPC:
        pytest.skip("as with a full disk")
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, code, after=after)
        found = run_app(["run", "quickstart", *SETTINGS, "--plain"])
    said = capsys.readouterr().err
    assert (found, "itself" in said, os.strerror(code) in said, "runs/quickstart/" in said) == (1, False, True, True)
    runs = [path for path in tmp_path.glob("runs/*/*") if not path.name.startswith(".")]
    for run in runs:  # where there is one, it is whole
        assert run_app(["run", str(run), "--resume", "--plain"]) == 0
        assert Run(run).outcome == "done"


def test_a_small_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real one, where it may be mounted."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        assert run_app(["run", "quickstart", *SETTINGS, "--plain", "--output", str(tmp_path)]) == 1
        assert str(tmp_path) in capsys.readouterr().err
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path], check=True)
        (run,) = tmp_path.glob("*/*")
        assert run_app(["run", str(run), "--resume", "--plain"]) == 0
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.spread
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command",
    [["schema"], ["check", "quickstart"], ["plugins", "--json"], ["--help"], ["check", "quikstart", "--json"],
     pytest.param(["run", "quickstart", "--dry-run"], marks=pytest.mark.slow),
     pytest.param(["run", "quickstart", "--dry-run", "--json"], marks=pytest.mark.slow)],
)  # fmt: skip
def test_output_that_cannot_be_written(command: list[str], unbuffered: str) -> None:
    """Where it is written at once, and where what is short waits for the end of the program."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mentor_kit.cli", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    wrong = "quikstart" in command
    assert done.returncode == (2 if wrong else 1)
    assert ("no recipe" if wrong else "No space left") in done.stderr
    assert "itself" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", [".", "/", "", "..", "folder"])
def test_a_schema_is_written_into_a_file(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert run_app(["schema", "--output", target]) == 2
    assert "itself" not in capsys.readouterr().err
    assert list((tmp_path / "folder").iterdir()) == []
    assert run_app(["schema", "--output", "folder/new/schema.json"]) == 0
    json.loads((tmp_path / "folder/new/schema.json").read_text())


@pytest.mark.parametrize("target", ["file", "file/below", "file/a/b"])
def test_runs_and_exports_are_not_put_below_a_file(target: str, tmp_path: Path, finished: Run) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file"):
        api.export(finished, tmp_path / target)
    with pytest.raises(MentorKitError, match="file"):
        api.run("quickstart", overrides=parse_settings(SMALL), output=tmp_path / target)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return api.run("quickstart", overrides=parse_settings(SMALL), output=tmp_path_factory.mktemp("finished"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc")
@pytest.mark.parametrize("target", ["/proc/x", "/proc/x/y"])
def test_where_nothing_can_be_made(target: str, finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["export", str(finished.path), target], ["schema", "--output", target],
                    ["run", "quickstart", *SETTINGS, "--output", target]):  # fmt: skip
        assert run_app(command) == 1
        said = capsys.readouterr().err
        assert "/proc/x" in said
        assert "itself" not in said


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MentorKitError, match="XDG_CACHE_HOME"):
        api.run(
            "quickstart",
            overrides=parse_settings([*SMALL, "student.model=tiny-blank", "seed=7"]),
            output=tmp_path,
        )


def test_what_is_an_error_of_the_disk() -> None:
    full = OSError(errno.ENOSPC, "full")
    assert str(disk_error(OSError(errno.EACCES, "no", "/a/b"))).startswith("cannot use /a/b: Permission denied")
    assert disk_error(full) is not None
    wrapped = RuntimeError("a library's own")
    wrapped.__cause__ = full
    assert disk_error(wrapped) is not None
    for other in (ValueError("x"), OSError(errno.ECONNREFUSED, "x"), OSError(errno.EPERM, "x"), FileNotFoundError("x")):
        assert disk_error(other) is None
