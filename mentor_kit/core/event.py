"""Events of a run, each with its kind, time, stage and step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mentor_kit.core.frozen_model import Json
from mentor_kit.utils.strict_json import to_json

#: Kinds of the events that the run itself emits, beside those of its stages (`step`, `evaluation`, …).
RUN_START, RUN_RESUME, RUN_END, CHECKPOINT, NOTE = "run_start", "run_resume", "run_end", "checkpoint", "note"
#: The kind of events that name what goes wrong in training (`mentor_kit.runs.diagnosis`).
DIAGNOSIS = "diagnosis"


@dataclass(frozen=True)
class Event:
    """An event, which is a line of the run's `events.jsonl` and is passed to trackers."""

    kind: str
    """`step`, `evaluation`, `checkpoint`, `note`, `diagnosis`, `run_start`, `run_resume`, `run_end`, or a stage's
    own."""
    time: str
    """UTC, ISO 8601, milliseconds."""
    stage: str = ""
    """The stage's key; empty for the run as a whole."""
    step: int | None = None
    """The stage's step; None where the event belongs to no step."""
    values: dict[str, Json] = field(default_factory=dict)
    """The event's values. Numbers that are not finite are written as null."""

    @staticmethod
    def now(kind: str, stage: str, values: dict[str, Json]) -> Event:
        """Return an event with the current time; a value named `step` becomes the event's step."""
        values = dict(values)
        step = values.pop("step", None)
        values.pop("stage", None)
        return Event(kind, utc_now(), stage, None if step is None else int(step), values)

    def to_json(self) -> str:
        """Return the event as one line of JSON."""
        record: dict[str, Json] = {"kind": self.kind, "time": self.time}
        if self.stage:
            record["stage"] = self.stage
        if self.step is not None:
            record["step"] = self.step
        return to_json(record | {"values": self.values})

    @staticmethod
    def from_json(line: str | bytes) -> Event:
        """Return the event that `to_json` wrote.

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


def utc_now() -> str:
    """Return the current time in UTC, such as `2026-11-24T13:45:01.123+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
