"""Errors that a user can cause, as one tree.

    MentorKitError                exit code 1: the run failed
    ├── UsageError                2: the command line or the Python call is wrong
    ├── RecipeError               2: a recipe is wrong; carries file, line and column
    ├── MissingError              3: something is not on this machine (a package, a model, a device)
    ├── PluginError               1: a plugin broke its contract, or could not be loaded
    ├── DataError                 1: a file of problems, demonstrations or weights cannot be read
    ├── ChatError                 1: a tokenizer or chat template cannot be used for training
    ├── BackendError              1: a backend cannot do what was asked of it
    └── Interrupted               130: stopped by the user; the run can be resumed

A message says what is wrong (naming the file or the value), what was expected, and what to do next.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of `mentorkit`; documented in docs/commands.md."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    INTERRUPTED = 130


class MentorKitError(Exception):
    """Base class of all errors that a user can cause.

    Args:
        message: what is wrong, in one sentence that names the value at fault.
        hint: what to do next; printed on a line of its own.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"

    def as_data(self) -> dict[str, Any]:
        """Return the error's class name, message and hint as strings, for programs."""
        return {"error": type(self).__name__, "message": self.message, "hint": self.hint}


class UsageError(MentorKitError):
    """The command line, or the arguments of a Python call, are wrong."""

    exit_code = ExitCode.USAGE


class RecipeError(MentorKitError):
    """A recipe is wrong; `message` starts with `file:line:column:` where those are known."""

    exit_code = ExitCode.USAGE


class MissingError(MentorKitError):
    """A requirement of the recipe is missing on this machine; `hint` has the command that installs it."""

    exit_code = ExitCode.MISSING


class PluginError(MentorKitError):
    """A plugin broke its contract, clashes with another, or could not be loaded."""


class DataError(MentorKitError):
    """A data file is missing, unreadable, or has a row of the wrong form."""


class ChatError(MentorKitError):
    """A tokenizer or its chat template cannot be used for token-exact training."""


class BackendError(MentorKitError):
    """A backend cannot do what was asked: memory, device, dtype, or an unsupported model."""


class Interrupted(MentorKitError):
    """The user stopped the run; everything up to the last checkpoint is kept."""

    exit_code = ExitCode.INTERRUPTED


#: What the system says of a disk that takes no more, or not from this user, and what helps.
_DISK = {
    errno.ENOSPC: "make room on that disk, or keep files on another one",
    errno.EDQUOT: "make room within your quota, or keep files on another disk",
    errno.EROFS: "make that place writable, or keep files in another one",
    errno.EACCES: "make that place readable and writable, or keep files in another one",
    errno.EPERM: "make that place readable and writable, or keep files in another one",
}


def disk_error(error: BaseException) -> MentorKitError | None:
    """Return the `MentorKitError` for an error of the disk; None for any other error."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in _DISK:
            # without a name there is no saying that a permission is about a file
            if found.filename is None and found.errno in (errno.EACCES, errno.EPERM):
                return None
            place = "the output or a temporary file" if found.filename is None else os.fsdecode(found.filename)
            return MentorKitError(f"cannot use {place}: {os.strerror(found.errno)}", hint=_DISK[found.errno])
        found = found.__cause__
    return None


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known name, or an empty string; capitals and small letters are alike.

    Example:
        >>> did_you_mean("menotr", ["mentor", "sparse"])
        " (did you mean 'mentor'?)"
    """
    by_lower: dict[str, str] = {}
    for name in known:
        by_lower.setdefault(name.lower(), name)
    close = difflib.get_close_matches(wrong.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""
