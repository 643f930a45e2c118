"""What a tracker has of a run: a file beside the run that outlives processes, so that nothing is sent twice."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path


class Ledger:
    """The last step of each series that a tracker has, and the messages it has.

    Args:
        path: its file; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps: dict[str, int] = {}
        self._messages: list[str] = []
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(path.read_bytes())
            self._steps = {str(series): int(step) for series, step in found["steps"].items()}
            self._messages = [str(message) for message in found["messages"]]

    def clear(self) -> None:
        """Forget everything: the tracker has nothing."""
        self._steps, self._messages = {}, []
        self._write()

    def has(self, series: str, step: int) -> bool:
        """Whether the tracker has a step of a series; series are sent in order, so that it has all before its last."""
        return series in self._steps and step <= self._steps[series]

    def add(self, series: str, step: int) -> None:
        """Record that a step was sent."""
        self._steps[series] = step
        self._write()

    def has_message(self, message: str) -> bool:
        """Whether the tracker has a message."""
        return message in self._messages

    def add_message(self, message: str) -> None:
        """Record that a message was sent."""
        self._messages.append(message)
        self._write()

    def _write(self) -> None:
        new = self._path.with_name(f".new-{self._path.name}")
        new.write_text(json.dumps({"steps": self._steps, "messages": self._messages}), encoding="utf-8")
        new.replace(self._path)
