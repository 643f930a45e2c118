"""A list of runs as a table, and words for ages and sizes."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.report.tables import Sheet
from mentor_kit.runs.listing import ReachedAccuracy, RunSummary


def run_sheet(runs: Sequence[RunSummary], title: str) -> Sheet:
    """A table with a row for each run that can be read; accuracies in percent with their intervals."""
    rows = tuple(
        (
            run.name,
            run.id,
            run.state or "",
            step_text(run),
            accuracy_text(run.accuracy),
            size_text(run.bytes),
            age_text(run.age()),
        )
        for run in runs
        if not run.fault
    )
    return Sheet(title, ("name", "id", "state", "step", "accuracy, %", "size", "age"), rows, left=3)


def step_text(run: RunSummary) -> str:
    """Such as `40/60`; empty where it made no training step."""
    if not run.stage:
        return ""
    return f"{run.step}/{run.steps}" if run.steps is not None else str(run.step)


def accuracy_text(found: ReachedAccuracy | None) -> str:
    """Such as `78.7 (71–85)`: percent with the interval in whole ones."""
    if found is None:
        return ""
    text = f"{100 * found.accuracy:.1f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} ({100 * found.low:.0f}–{100 * found.high:.0f})"


def size_text(count: int) -> str:
    """A number of bytes, such as `24 MB`."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 9.95 or units[0] == "B" else f"{value:.1f} {units[0]}"


def age_text(seconds: float | None) -> str:
    """A time span in its largest unit, such as `3 h`."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
