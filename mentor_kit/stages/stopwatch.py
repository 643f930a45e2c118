"""A stopwatch with laps, for the seconds that a step's metrics have."""

from __future__ import annotations

import time


class Stopwatch:
    """Measures wall-clock seconds by lap; runs from its construction."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}
        """Seconds of every lap, by its name."""

    def lap(self, name: str) -> float:
        """End the lap and begin the next one; returns its seconds."""
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
        return self.laps[name]

    @property
    def total(self) -> float:
        """Seconds of all laps."""
        return sum(self.laps.values())
