"""A task's verdict on an answer, with a word about a check that does not return.

A check is the user's code and runs in this process, so it cannot be ended from here; that it is waited for can be said.
One that never lets go of the interpreter, such as a regular expression, keeps even that from being said.
"""

from __future__ import annotations

import logging
from threading import Timer

from mentor_kit.core.task import Problem, Task

#: After so many seconds a check that has not returned is named.
PATIENCE = 10.0

_log = logging.getLogger(__name__)


def is_right(answer: str, problem: Problem, task: Task) -> bool:
    """What the task's check says; a check that takes longer than `PATIENCE` is named in a warning, and waited for."""
    checker = f"{type(task).__module__}.{type(task).__qualname__}.check"
    shown = answer if len(answer) <= 80 else f"{answer[:77]}..."
    message = (
        "%s has not returned after %g seconds, on problem %r and answer %r; it is waited for (Ctrl-C stops the run)"
    )
    timer = Timer(PATIENCE, _log.warning, (message, checker, PATIENCE, problem.id, shown))
    timer.daemon = True
    timer.start()
    try:
        return bool(task.check(answer, problem))
    finally:
        timer.cancel()
