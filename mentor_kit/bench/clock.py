"""A clock that knows what time is spent on, where several things may go on at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: While several go on at once, time belongs to the first of them.
KINDS = ("sample", "update", "tools", "reward", "teacher")


class ActivityClock:
    """Seconds by kind. What is measured may overlap, as tools do with sampling; no second is counted twice.

    Args:
        now: gives the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._last = now()
        self._active: Counter[str] = Counter()
        self._seconds = dict.fromkeys(KINDS, 0.0)

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Something of this kind goes on."""
        self._turn()
        self._active[kind] += 1
        try:
            yield
        finally:
            self._turn()
            self._active[kind] -= 1

    def read(self) -> dict[str, float]:
        """Seconds by kind so far."""
        self._turn()
        return dict(self._seconds)

    def _turn(self) -> None:
        now = self._now()
        kind = next((kind for kind in KINDS if self._active[kind]), None)
        if kind is not None:
            self._seconds[kind] += now - self._last
        self._last = now
