"""Turns Ctrl-C into a request: the current step is finished and saved; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """While entered, SIGINT and SIGTERM set `requested`; the next one raises KeyboardInterrupt.

    Outside the main thread signals cannot be caught; then only `request` stops a run.

    Args:
        on_request: called at the first signal, to tell the user that the run is about to stop; it must not raise.
    """

    def __init__(self, on_request: Callable[[], None] | None = None) -> None:
        self.requested = False
        self._on_request = on_request
        self._before: dict[signal.Signals, Any] = {}

    def request(self) -> None:
        """Ask the run to stop after the current step."""
        if not self.requested:
            self.requested = True
            if self._on_request is not None:
                self._on_request()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not set from Python, and cannot be set again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.request()
