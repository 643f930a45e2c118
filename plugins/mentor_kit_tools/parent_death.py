"""Runs a command that ends with the process that started it: `python -m mentor_kit_tools.parent_death COMMAND…`.

Linux sends the signal itself (prctl, PR_SET_PDEATHSIG), however its parent ended. Elsewhere the command runs
as it is, and ends when it notices that its standard input is closed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> None:
    """Become the command."""
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return  # it ended in the meantime
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
