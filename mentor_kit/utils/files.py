"""Modes of files that libraries write."""

from __future__ import annotations

from pathlib import Path

#: How temporary names begin; a process that was killed may leave such a file, and `mentor_kit.runs.files` clears it.
NEW = ".new-"


def open_to_readers(folder: Path) -> None:
    """Give a folder's files the modes that the umask gives new files: some libraries write for the owner alone.

    They are read from a new file, as the umask itself cannot be read without being changed.
    """
    probe = folder / f"{NEW}probe"
    probe.touch()
    mode = probe.stat().st_mode & 0o666
    probe.unlink()
    for path in folder.rglob("*"):
        if not path.is_symlink():
            # whoever may read a folder may look inside
            path.chmod(mode | (mode & 0o444) >> 2 if path.is_dir() else mode)
