"""Writes files into a folder that is not there yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mentor_kit.core.errors import UsageError
from mentor_kit.runs.files import write_folder


def write_new(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files into a new folder, all of them or none; returns the folder.

    Args:
        folder: the folder; one that is there and empty will do.
        files: their contents, by their places in the folder.

    Raises:
        UsageError: something is there already.
        MentorKitError: it cannot be written.
    """
    check_new(folder)

    def fill(new: Path) -> None:
        for place, text in files.items():
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            (new / place).write_text(text, encoding="utf-8")

    return write_folder(folder, fill)


def check_new(folder: Path) -> None:
    """Check that a folder is not there yet, or empty.

    Raises:
        UsageError: something is there already.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} is there already, and nothing is overwritten", hint="name another folder with --output"
        )
