"""A tracker's process, from the side of the run: messages are queued, answers are collected, and nothing waits."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import MentorKitError

#: Seconds that the process may take to import its library, on a slow disk.
_START_SECONDS = 180.0
#: Seconds that it may take for a message later on: a server that is away for some minutes is waited for.
_PATIENCE_SECONDS = 600.0
#: Bytes of messages that wait for a tracker which is slower than the run.
_MOST_WAITING = 256 << 20


class TrackerError(MentorKitError):
    """A tracker failed or does not answer."""


class TrackerProcess:
    """A running process of a tracker.

    Args:
        log: the file that gets everything it prints; appended to.
        seconds: for an answer to the first message, once the library is imported, and to the last.
        note: gets the lines that it notes, from another thread.
    """

    def __init__(self, log: Path, seconds: float, note: Callable[[str], None]) -> None:
        self._log = log
        self._seconds = seconds
        self._note = note
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sizes: deque[int] = deque()
        """Bytes of the messages without an answer."""
        self._waiting = 0
        """Their sum."""
        self._since = time.monotonic()
        """When the process last did something, or got the message that it works on."""
        self._is_ready = self._is_begun = self._is_closed = False
        self._fault = ""
        self._is_killed = False
        self._deadline = 0.0
        """When the last message has to be worked off."""
        self._ended = threading.Event()
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    # -P: no module is taken from the working folder, where libraries leave folders of their names
                    [sys.executable, "-P", "-m", "mentor_kit_trackers.worker", str(requests), str(replies)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(requests, replies),
                    env=_environment(),
                    # Ctrl-C is the run's
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._requests)
            os.close(self._replies)
            raise
        finally:
            os.close(requests)
            os.close(replies)
        for work in (self._write, self._read):
            threading.Thread(target=work, name="mentor-kit tracker", daemon=True).start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message.

        Raises:
            TrackerError: the process failed, or does not answer.
        """
        self.check()
        line = f"{json.dumps(message)}\n".encode()
        with self._lock:
            if not self._sizes:
                self._since = time.monotonic()
            self._sizes.append(len(line))
            self._waiting += len(line)
        self._messages.put(line)

    def check(self, seconds: float | None = None) -> None:
        """Look whether everything is well; a process that is not is killed.

        Args:
            seconds: that the oldest message may have been without an answer; by how far the process is if left out.

        Raises:
            TrackerError: it failed, does not answer, or is too slow for the run.
        """
        fault = self._fault
        if not fault and self._ended.is_set():
            fault = f"its process ended ({_ending(self._process)})"
        waited = time.monotonic() - self._since
        if not fault and self._sizes and waited > (seconds or self._limit()):
            fault = f"no answer for {waited:.0f} s"
        if not fault and self._waiting > _MOST_WAITING:
            fault = f"it is slower than the run: {self._waiting >> 20} MiB wait for it"
        if fault:
            self.kill()
            raise self._error(fault)

    def finish(self, message: Mapping[str, Any]) -> None:
        """Send the last message; `close` waits for it.

        Raises:
            TrackerError: the process failed, or does not answer.
        """
        # a server that has not answered for that long by now is not waited for again
        self.check(self._seconds if self._is_ready else None)
        self.send(message)
        self._messages.put(None)
        self._deadline = time.monotonic() + self._seconds

    def close(self) -> None:
        """Wait until the last message is worked off, at most `seconds` since it was sent; then kill the process.

        Raises:
            TrackerError: the process failed, or took longer.
        """
        try:
            if not self._ended.wait(max(0.0, self._deadline - time.monotonic())):
                raise self._error(f"it was not done within {self._seconds:g} s of the run's end")
            if not self._is_closed:
                raise self._error(self._fault or f"its process ended ({_ending(self._process)})")
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the process and what it started. May be called again."""
        if self._is_killed:
            return
        self._is_killed = True
        self._messages.put(None)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _limit(self) -> float:
        if not self._is_ready:
            return _START_SECONDS
        return max(_PATIENCE_SECONDS, self._seconds) if self._is_begun else self._seconds

    def _error(self, fault: str) -> TrackerError:
        return TrackerError(fault, hint=f"{self._log} has what it printed; a resumed run sends what is missing")

    def _write(self) -> None:
        """Write queued messages to the pipe; a thread."""
        with os.fdopen(self._requests, "wb", buffering=0) as pipe, suppress(OSError):
            while (line := self._messages.get()) is not None:
                view = memoryview(line)
                while view:
                    view = view[pipe.write(view) :]

    def _read(self) -> None:
        """Collect answers; a thread."""
        with os.fdopen(self._replies, encoding="utf-8", errors="replace") as pipe, suppress(OSError, ValueError):
            for line in pipe:
                self._take(json.loads(line))
        self._ended.set()

    def _take(self, answer: Mapping[str, Any]) -> None:
        if "note" in answer:
            self._note(answer["note"])
            return
        with self._lock:
            self._is_ready = True
            self._is_begun = self._is_begun or "ready" not in answer
            self._is_closed = self._is_closed or "closed" in answer
            self._fault = self._fault or str(answer.get("fault", ""))
            self._since = time.monotonic()
            if "done" in answer and self._sizes:
                self._waiting -= self._sizes.popleft()


def _ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, which has closed its pipes."""
    try:
        code = process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return "it closed its pipes"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _environment() -> dict[str, str]:
    """The variables of this process, and its modules' folders; the process finds whatever this one finds."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder),
        "PYTHONIOENCODING": "utf-8:replace",
        "PYTHONUNBUFFERED": "1",
        # libraries must not take the cores that train
        "OMP_NUM_THREADS": "1",
    }
