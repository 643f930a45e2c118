"""The processes of this machine, on Linux as `/proc` lists them and elsewhere as `ps` does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: This process's open files, on Linux and on macOS.
OPEN_FILES = Path("/dev/fd")
#: Columns that every `ps` has.
_COLUMNS = ("-o", "pid=", "-o", "ppid=", "-o", "stat=")


def runs(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    return any(found == pid for found, _ in _living(pid))


def children() -> set[int]:
    """The processes that this one has started and that still run."""
    return {pid for pid, parent in _living() if parent == os.getpid()}


def _living(pid: int | None = None) -> list[tuple[int, int]]:
    """(process, parent) of all processes, or of one, without zombies."""
    rows = _from_proc(pid) if Path("/proc/self/stat").exists() else _from_ps(pid)
    return [(found, parent) for found, parent, state in rows if not state.startswith("Z")]


def _from_proc(pid: int | None) -> list[tuple[int, int, str]]:
    found = []
    for status in [Path(f"/proc/{pid}/stat")] if pid is not None else Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found.append((int(status.parent.name), int(parent), state))
    return found


def _from_ps(pid: int | None) -> list[tuple[int, int, str]]:
    chosen = ["-A"] if pid is None else ["-p", str(pid)]
    listed = subprocess.run(["ps", *chosen, *_COLUMNS], capture_output=True, text=True)  # 1 where there is none
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [(int(found), int(parent), state) for found, parent, state in rows]
