"""A clock that divides time among activities, several of which may overlap."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: While several activities overlap, time counts for the first of them.
ACTIVITIES = ("sample", "update", "tools", "reward", "teacher")


class ActivityClock:
    """Seconds by activity. Activities may overlap, as tools do with sampling; no second is counted twice.

    Args:
        now: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._last = now()
        self._active: Counter[str] = Counter()
        self._seconds = dict.fromkeys(ACTIVITIES, 0.0)

    @contextmanager
    def on(self, activity: str) -> Iterator[None]:
        """Measure the block as this activity."""
        self._count()
        self._active[activity] += 1
        try:
            yield
        finally:
            self._count()
            self._active[activity] -= 1

    def read(self) -> dict[str, float]:
        """Seconds so far by activity."""
        self._count()
        return dict(self._seconds)

    def _count(self) -> None:
        now = self._now()
        activity = next((name for name in ACTIVITIES if self._active[name]), None)
        if activity is not None:
            self._seconds[activity] += now - self._last
        self._last = now
