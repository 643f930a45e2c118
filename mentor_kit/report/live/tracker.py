"""A tracker that serves a run's page in a process of its own while the run goes on.

The process reads the run folder alone. It ends with the run, also with one that is killed: its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from mentor_kit.core.errors import MentorKitError
from mentor_kit.hooks.tracker import Outcome, TrackedRun, Tracker

#: Seconds that the process may take to start and to end.
PATIENCE = 60.0, 5.0


class LiveView(Tracker):
    """Serves the page of the run that it tracks.

    Args:
        announce: called with the page's address as soon as it is served.
        port: as for `LiveServer`.
    """

    def __init__(self, announce: Callable[[str], None], port: int | None = None) -> None:
        self.address = ""
        """The page's address; empty before the run begins."""
        self._announce = announce
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, run: TrackedRun) -> None:
        """Start the process and announce its address."""
        command = [sys.executable, "-m", "mentor_kit.report.live.child", str(run.folder.resolve())]
        command += [] if self._port is None else [str(self._port)]
        # a session of its own: Ctrl-C on the terminal is for the run, which ends the process when it has stopped
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
        )
        found = json.loads(self._first_line(self._process))
        if "error" in found:
            raise MentorKitError(found["error"])
        self.address = found["address"]
        self._announce(self.address)

    def close(self, outcome: Outcome) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            try:
                process.wait(PATIENCE[1])
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        """What the process says first: its address, or what is wrong."""
        import select

        assert process.stdout is not None
        if not select.select([process.stdout], [], [], PATIENCE[0])[0]:
            process.kill()
        return process.stdout.readline() or b'{"error": "the process that serves the page did not start"}'
