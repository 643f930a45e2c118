"""The tracker `weather`: evaluations as a table, `evaluations.csv` in the run folder."""

from __future__ import annotations

import csv
from pathlib import Path

from mentor_kit.core.event import Event
from mentor_kit.hooks import TrackedRun, Tracker
from pydantic import BaseModel, ConfigDict

COLUMNS = ("event", "stage", "step", "split", "problems", "accuracy", "low", "high")


class WeatherTrackerOptions(BaseModel):
    """What a recipe may write in `with:`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "evaluations.csv"
    """The file's name."""


class WeatherTracker(Tracker):
    """Writes a row for each evaluation; a resumed run neither doubles nor loses one."""

    def __init__(self, options: WeatherTrackerOptions) -> None:
        self.name = options.name

    def start(self, run: TrackedRun) -> None:
        """Begin the table, or keep the rows of the events that a resumed run still has."""
        self.path: Path = run.folder / self.name
        self.events = run.events
        kept: list[list[str]] = []
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.reader(file) if row[0].isdigit() and int(row[0]) <= run.events]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *kept])

    def event(self, event: Event) -> None:
        """Count the event; append a row where it is an evaluation."""
        self.events += 1
        if event.kind != "evaluation":
            return
        values = event.values
        accuracy = values.get("greedy") or values.get("sampled") or {}
        numbers = [accuracy.get(key) for key in ("accuracy", "low", "high")]
        with self.path.open("a", newline="", encoding="utf-8") as file:
            row = [self.events, event.stage, event.step, values.get("split"), values.get("problems"), *numbers]
            csv.writer(file).writerow(row)
