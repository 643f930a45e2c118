"""A run at a glance for the page: before and after, metrics by step, where the time went, notes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from mentor_kit.core.event import DIAGNOSIS, NOTE, RUN_START
from mentor_kit.core.frozen_model import Json
from mentor_kit.report.arms import placed_steps
from mentor_kit.report.before_after import before_after
from mentor_kit.runs import Run
from mentor_kit.runs.diagnosis import diagnose

#: Kinds of events that are sentences for a reader.
NOTES = (NOTE, DIAGNOSIS)

#: Significant digits of a metric in the page.
DIGITS = 5


def overview(run: Run) -> dict[str, Json]:
    """What the page's first tab shows."""
    steps = placed_steps(run)
    return {
        "before_after": before_after(run).to_json(),
        "steps": step_columns(steps),
        "time": time_spent(run, steps),
        "notes": notes(run),
    }


def step_columns(steps: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """The steps' metrics as columns: `at` (steps counted over all stages), `stage`, `step` and `metrics` by name."""
    names = dict.fromkeys(name for step in steps for name, value in step.items() if _is_metric(name, value))
    return {
        "at": [step["at"] for step in steps],
        "stage": [step["stage"] for step in steps],
        "step": [step["step"] for step in steps],
        "metrics": {name: [_rounded(step.get(name)) for step in steps] for name in names},
    }


def time_spent(run: Run, steps: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """Seconds by purpose: those that steps record, the rest of the steps, and everything outside them.

    What is outside steps is evaluations, demonstrations, checkpoints and loading. Pauses between a stop and the time
    when the run was resumed do not count.
    """
    parts: dict[str, float] = {}
    inside = 0.0
    for step in steps:
        inside += float(step.get("seconds") or 0.0)
        for name, value in step.items():
            if name.startswith("seconds_") and isinstance(value, int | float):
                purpose = name.removeprefix("seconds_")
                parts[purpose] = parts.get(purpose, 0.0) + value
    rest = inside - sum(parts.values())
    if rest > 0.005 * inside:
        parts["rest of the steps"] = rest
    total = _worked(run)
    if total > inside:
        parts["outside steps"] = total - inside
    return {"total": round(max(total, inside), 3), "parts": {name: round(value, 3) for name, value in parts.items()}}


def _worked(run: Run) -> float:
    """Seconds between events, without the pauses before the run was resumed."""
    events = run.events
    times = [datetime.fromisoformat(event.time) for event in events if _is_time(event.time)]
    if len(times) != len(events):
        return 0.0
    pairs = zip(times, times[1:], events[1:], strict=False)
    return sum((later - sooner).total_seconds() for sooner, later, event in pairs if event.kind != "run_resume")


def notes(run: Run) -> list[dict[str, Json]]:
    """The run's notes and diagnoses, oldest first; those of runs that recorded no diagnoses are made now."""
    events = list(run.events)
    found = [
        {"kind": event.kind, "time": event.time, "stage": event.stage, "step": event.step, "values": event.values}
        for event in events
        if event.kind in NOTES
    ]
    if any(note["kind"] == DIAGNOSIS for note in found):
        return found
    made = [
        {"kind": DIAGNOSIS, "time": None, "stage": each.stage, "step": each.step, "values": each.values}
        for each in diagnose(events, run.recipe)
    ]
    return [*found, *made]


def started(run: Run) -> str | None:
    """When the run started, as it is in its events."""
    return next((event.time for event in run.events if event.kind == RUN_START), None)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_metric(name: str, value: Json) -> bool:
    return name not in ("at", "step", "steps", "time") and isinstance(value, int | float)


def _rounded(value: Json) -> Json:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return int(value) if isinstance(value, bool) else None
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
