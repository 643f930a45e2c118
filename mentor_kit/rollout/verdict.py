"""A task's verdict on an answer, with a warning about a check that does not return.

A check is the user's code and runs in this process, so it cannot be ended from here; a warning can name it.
One that holds the interpreter's lock, such as a regular expression, delays even the warning until it returns.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from threading import Lock, Thread, get_ident

from mentor_kit.core.task import Problem, Task

#: After so many seconds a check that has not returned is named.
PATIENCE = 10.0

_log = logging.getLogger(__name__)


def is_right(answer: str, problem: Problem, task: Task) -> bool:
    """Return the task's verdict; a check that takes longer than `PATIENCE` is named in a warning, and waited for."""
    _watchdog.begin(_Check(answer, problem, task))
    try:
        return bool(task.check(answer, problem))
    finally:
        _watchdog.end()


@dataclass
class _Check:
    """A check that has not returned yet."""

    answer: str
    problem: Problem
    task: Task
    started: float = field(default_factory=time.monotonic)
    named: bool = False

    def warn(self) -> None:
        """Name the check, once."""
        self.named = True
        kind = type(self.task)
        shown = self.answer if len(self.answer) <= 80 else f"{self.answer[:77]}..."
        _log.warning(
            "%s has not returned after %g seconds, on problem %r and answer %r; still waiting (Ctrl-C stops the run)",
            f"{kind.__module__}.{kind.__qualname__}.check",
            PATIENCE,
            self.problem.id,
            shown,
        )


class _Watchdog:
    """A thread that looks for checks that do not return; it ends once none has been made for a while.

    One thread for all checks, because starting one costs more than most checks take.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._checks: dict[int, _Check] = {}
        self._last = 0.0
        self._thread: Thread | None = None

    def begin(self, check: _Check) -> None:
        """Watch the check that the calling thread makes now."""
        with self._lock:
            self._checks[get_ident()] = check
            self._last = check.started
            # in a forked child the parent's thread is not alive
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._watch, name="mentorkit-checks", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Forget the calling thread's check."""
        with self._lock:
            self._checks.pop(get_ident(), None)

    def _watch(self) -> None:
        while True:
            time.sleep(PATIENCE / 10)
            with self._lock:
                now = time.monotonic()
                late = [check for check in self._checks.values() if now - check.started > PATIENCE and not check.named]
                for check in late:
                    check.warn()
                if not self._checks and now - self._last > PATIENCE:
                    self._thread = None
                    return


_watchdog = _Watchdog()
