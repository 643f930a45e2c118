"""Runs a command that ends with the process that started it: `python -m mentor_kit_tools.parent_death COMMAND…`.

Linux sends the signal itself (prctl, PR_SET_PDEATHSIG), however its parent ended. Elsewhere this process stays beside
the command, and ends it, and what it started, within a second of the parent's end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
#: Seconds between two looks at whether the parent lives.
_LOOK_SECONDS = 0.5


def main(command: list[str]) -> None:
    """Run the command; exits as it does."""
    parent = os.getppid()
    try:
        if sys.platform.startswith("linux"):
            _become(command, parent)
        else:
            _stay_beside(command, parent)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def _become(command: list[str], parent: int) -> None:
    """Put the command in this process's place; the system ends it with its parent."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # it may have ended in the meantime
        os.execvp(command[0], command)


def _stay_beside(command: list[str], parent: int) -> NoReturn:
    """Start the command as a child in a process group with this process, and end the group with the parent."""
    with suppress(PermissionError):  # it leads a session already
        os.setpgid(0, 0)
    child = subprocess.Popen(command)

    def pass_on(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    while True:
        try:
            code = child.wait(_LOOK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                os.killpg(0, signal.SIGKILL)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
