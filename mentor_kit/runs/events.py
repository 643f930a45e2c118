"""Reads and writes `events.jsonl`, which holds an event a line, in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mentor_kit.core.errors import DataError
from mentor_kit.core.event import Event
from mentor_kit.runs.jsonl import JsonlFile, read_lines


def iterate_events(path: Path) -> Iterator[Event]:
    """The events of an `events.jsonl`, oldest first; a half-written last line is ignored.

    Raises:
        DataError: a line is not an event.
    """
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield Event.from_json(line)
        except ValueError as error:
            raise DataError(
                f"{path}:{number}: {error}", hint="was the file edited? Remove that line to read the rest"
            ) from None


def read_events(folder: Path) -> list[Event]:
    """All events of a run folder, oldest first.

    Raises:
        DataError: a line is not an event.
    """
    return list(iterate_events(folder / "events.jsonl"))


class EventLog(JsonlFile):
    """`events.jsonl`, open for writing."""

    def write(self, event: Event) -> None:
        """Append an event."""
        self.append([event.to_json()])
