"""What happened in a run, in order: one event a line of `events.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.files import to_json
from mentor_kit.runs.jsonl import JsonlFile, read_lines

#: Events the run itself writes, beside those of its stages (`step`, `evaluation`, …).
RUN_START, RUN_RESUME, RUN_END, CHECKPOINT, NOTE = "run_start", "run_resume", "run_end", "checkpoint", "note"


@dataclass(frozen=True)
class Event:
    """Something that happened. Trackers get these."""

    kind: str
    """`step`, `evaluation`, `checkpoint`, `note`, `run_start`, `run_resume`, `run_end`, or a stage's own."""
    time: str
    """UTC, ISO 8601, milliseconds."""
    stage: str = ""
    """The stage's key; empty for the run as a whole."""
    step: int | None = None
    """The stage's step, where the event belongs to one."""
    values: dict[str, Json] = field(default_factory=dict)
    """Everything else. Numbers that are not finite are written as null."""

    @staticmethod
    def now(kind: str, stage: str, values: dict[str, Json]) -> Event:
        """An event of this moment; a `step` among the values becomes the event's own."""
        values = dict(values)
        step = values.pop("step", None)
        values.pop("stage", None)
        return Event(kind, utc_now(), stage, None if step is None else int(step), values)

    def to_json(self) -> str:
        """One line of JSON."""
        record: dict[str, Json] = {"kind": self.kind, "time": self.time}
        if self.stage:
            record["stage"] = self.stage
        if self.step is not None:
            record["step"] = self.step
        return to_json(record | {"values": self.values})

    @staticmethod
    def from_json(line: str | bytes) -> Event:
        """What `to_json` wrote.

        Raises:
            ValueError: the line is something else.
        """
        record = json.loads(line)
        try:
            values = record["values"]
            step = record.get("step")
            return Event(str(record["kind"]), str(record["time"]), str(record.get("stage", "")), step, dict(values))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not an event: {error!r}") from None


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


def utc_now() -> str:
    """This moment in UTC, such as `2026-11-24T13:45:01.123+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
