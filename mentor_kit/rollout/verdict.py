"""A task's verdict on an answer, with a warning about a check that does not return.

A check is the user's code and runs in this process, so it cannot be ended from here; a warning can name it.
One that holds the interpreter's lock, such as a regular expression, delays even the warning until it returns.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from threading import Condition, Thread, get_ident

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
    patience: float = field(default_factory=lambda: PATIENCE)
    started: float = field(default_factory=time.monotonic)
    named: bool = False

    @property
    def deadline(self) -> float:
        """When it is named; never again once it was."""
        return math.inf if self.named else self.started + self.patience

    def warn(self) -> None:
        """Name the check."""
        self.named = True
        kind = type(self.task)
        shown = self.answer if len(self.answer) <= 80 else f"{self.answer[:77]}..."
        _log.warning(
            "%s has not returned after %g seconds, on problem %r and answer %r; still waiting (Ctrl-C stops the run)",
            f"{kind.__module__}.{kind.__qualname__}.check",
            self.patience,
            self.problem.id,
            shown,
        )


class _Watchdog:
    """A thread that names checks that do not return; it ends once none has been made for a while.

    One thread for all checks, because starting one costs more than most checks take. It sleeps until the first
    deadline: a quick check wakes it at most once, long after it has returned.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._checks: dict[int, _Check] = {}
        self._wakes = math.inf
        self._last = 0.0
        self._thread: Thread | None = None

    def begin(self, check: _Check) -> None:
        """Watch the check that the calling thread makes now."""
        with self._changed:
            self._checks[get_ident()] = check
            self._last = check.started
            # in a forked child the parent's thread is not alive
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._watch, name="mentorkit-checks", daemon=True)
                self._thread.start()
            elif check.deadline < self._wakes:
                self._changed.notify()

    def end(self) -> None:
        """Forget the calling thread's check."""
        with self._changed:
            self._checks.pop(get_ident(), None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for check in self._checks.values():
                    if check.deadline <= now:
                        check.warn()
                if not self._checks and now - self._last >= PATIENCE:
                    self._thread = None
                    return
                self._wakes = min((check.deadline for check in self._checks.values()), default=now + PATIENCE)
                self._changed.wait(None if math.isinf(self._wakes) else self._wakes - now)


_watchdog = _Watchdog()
