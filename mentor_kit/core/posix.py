"""The systems that mentor-kit trains on: Linux and macOS, whose process limits and file locks it needs."""

from __future__ import annotations

import sys

from mentor_kit.core.errors import MissingError

#: What helps on Windows.
WSL = (
    "use WSL, Linux inside Windows: `wsl --install` in a terminal of Windows, then install and run mentorkit in WSL's "
    "terminal"
)


def posix_missing() -> str:
    """Why nothing can be sampled or trained on this system, with what helps on a second line; empty where it can."""
    if sys.platform == "win32":
        return f"Windows without WSL has no process limits and no file locks of POSIX\n{WSL}"
    return ""


def require_posix(action: str) -> None:
    """Check that this system has what runs need.

    Args:
        action: what was asked for, as the subject of a sentence.

    Raises:
        MissingError: this is Windows, outside WSL.
    """
    if posix_missing():
        raise MissingError(f"{action} does not work on Windows itself, which lacks POSIX's limits and locks", hint=WSL)
