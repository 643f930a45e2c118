"""Trackers that show a run while it runs: a live line on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from mentor_kit.core.event import DIAGNOSIS, Event
from mentor_kit.hooks.tracker import Tracker

if TYPE_CHECKING:
    from mentor_kit.report.tables import Sheet


@contextmanager
def display(*, as_json: bool, plain: bool) -> Iterator[Tracker]:
    """The tracker that shows a run on standard output, in the form that suits it.

    Args:
        as_json: JSON lines for programs.
        plain: plain lines even on a terminal.
    """
    if as_json:
        yield JsonDisplay()
    elif plain or not sys.stdout.isatty():
        yield PlainDisplay()
    else:
        with LiveDisplay() as live:
            yield live


#: The answer to the first Ctrl-C.
STOPPING = "stopping after this step; Ctrl-C again stops at once"


def say_stopping() -> None:
    """Answer Ctrl-C on standard error, without its buffer: the signal may have come while that was being written."""
    with suppress(OSError):
        os.write(2, f"{STOPPING}\n".encode())


def width() -> int:
    """The number of columns: those of the terminal, or `COLUMNS`, or 80."""
    return shutil.get_terminal_size((80, 24)).columns


def show(sheets: Sequence[Sheet], *, plain: bool) -> None:
    """Print tables in the width of the terminal: drawn on a terminal, plain lines elsewhere."""
    if plain or not sys.stdout.isatty():
        typer.echo("\n" + "\n".join(sheet.text(width()) for sheet in sheets))
        return
    from rich.console import Console

    console = Console()
    for sheet in sheets:
        # rich puts three columns between two of the table's, and one at each end
        first, *others = sheet.fitting(console.width - 2, gap=3)
        console.print(first.table())
        for piece in others:
            console.print(replace(piece, title="").table())


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error that is gone at the end; None where that is no terminal.

    Args:
        what: names what makes progress.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


#: Seconds between two lines about the episodes of an evaluation.
EPISODES_INTERVAL = 10.0


class ProgressFilter:
    """Chooses the progress that becomes a line where every line stays."""

    def __init__(self) -> None:
        self._shown: dict[str, float] = {}
        """When a stage's episodes were last shown."""

    def shows(self, stage: str, done: int, values: Mapping[str, float]) -> bool:
        """Whether to show progress: of steps never (each is an event), of episodes first and then at intervals."""
        if "episodes" not in values:
            return "steps" not in values
        now = time.monotonic()
        if done and now - self._shown.setdefault(stage, now) < EPISODES_INTERVAL:
            return False
        self._shown[stage] = now
        return True


class JsonDisplay(Tracker):
    """Prints events and progress as lines of JSON."""

    def __init__(self) -> None:
        self._filter = ProgressFilter()

    def event(self, event: Event) -> None:
        """Print an event."""
        typer.echo(event.to_json())

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Print progress as an event of kind `progress`, which is not in the run's `events.jsonl`."""
        if self._filter.shows(stage, done, values):
            typer.echo(Event.now("progress", stage, {"done": done, "total": total, **values}).to_json())

    def stopping(self) -> None:
        """Answer Ctrl-C."""
        say_stopping()


class PlainDisplay(Tracker):
    """Prints events and progress as plain lines."""

    def __init__(self) -> None:
        self._clock = RemainingTime()
        self._filter = ProgressFilter()

    def event(self, event: Event) -> None:
        """Print an event."""
        if line := self.line(event):
            typer.echo(line)

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Print progress, as far as the filter lets it."""
        name = _named(stage, values)
        left = self._clock.remaining(name, done, total)
        if self._filter.shows(stage, done, values):
            typer.echo(f"{name} {done}/{total}  {left}".rstrip())

    def stopping(self) -> None:
        """Answer Ctrl-C."""
        say_stopping()

    def line(self, event: Event) -> str:
        """The event in one line, a diagnosis with its advice below it; empty for kinds that are not shown."""
        values = event.values
        if event.kind == "step":
            steps = int(values.get("steps", 0))
            left = self._clock.remaining(event.stage, event.step or 0, steps)
            return f"{event.stage} step {event.step}/{steps}  {metrics(values)}  {left}".rstrip()
        if event.kind == "evaluation":
            return evaluation_line(event)
        if event.kind == "note":
            return f"note: {values.get('text', '')}"
        if event.kind == DIAGNOSIS:
            return diagnosis_lines(event)
        if event.kind in ("run_resume", "collected", "export"):
            return f"{event.kind.replace('run_', '')}: " + ", ".join(f"{k} {v}" for k, v in values.items())
        return ""


class LiveDisplay(Tracker):
    """Shows a progress bar with the metrics of the last step; evaluations are printed above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text

        class Rest(ProgressColumn):
            """The end of the line, which is cut where the terminal is too narrow."""

            def render(self, task: Task) -> Text:
                return Text(task.fields["metrics"], no_wrap=True, overflow="ellipsis")

        self._console = Console()
        self._plain = PlainDisplay()
        self._clock = RemainingTime()
        self._tasks: dict[str, Any] = {}
        bar = min(24, max(0, self._console.width - 56))
        self._progress = Progress(
            TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True)),
            *([BarColumn(bar_width=bar)] if bar >= 4 else []),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            Rest(),
            console=self._console,
        )

    def __enter__(self) -> LiveDisplay:
        self._console.print("loading …", style="dim")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def event(self, event: Event) -> None:
        """Print an event above the bar."""
        # steps move the bar, by `progress`
        if event.kind != "step" and (line := self._plain.line(event)):
            self._console.print(line, highlight=False, markup=False)

    def stopping(self) -> None:
        """Answer Ctrl-C, above the bar where the console is free."""
        try:
            self._console.print(STOPPING, highlight=False)
        except RuntimeError:  # the signal came during a write
            say_stopping()

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Move the stage's bar, or that of an evaluation in it, which is removed at its end."""
        name = _named(stage, values)
        left = self._clock.remaining(name, done, total)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, metrics="", left="")
        self._progress.update(self._tasks[name], completed=done, total=total, metrics=metrics(values), left=left)
        if name != stage and done >= total:
            self._progress.remove_task(self._tasks.pop(name))


def _named(stage: str, values: Mapping[str, float]) -> str:
    """The name of what makes progress: a training stage, or an evaluation in it."""
    return f"{stage} evaluation" if "episodes" in values and not stage.endswith("-evaluate") else stage


class RemainingTime:
    """Estimates the time a stage has left from its last steps."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, int]]] = {}

    def remaining(self, stage: str, step: int, steps: int) -> str:
        """The time left, such as `1:05 left`; empty before the first step and after the last."""
        left = self.left(stage, step, steps)
        return f"{left} left" if 0 < step < steps else ""

    def left(self, stage: str, step: int, steps: int) -> str:
        """The time left, such as `1:05`; `?` after only one step."""
        seen = self._seen.setdefault(stage, [])
        seen.append((time.monotonic(), step))
        del seen[:-20]
        if len(seen) > 1 and step < seen[-2][1]:
            # a count that begins again, such as that of an evaluation's next split
            del seen[:-1]
        (first, before), (last, now) = seen[0], seen[-1]
        if now <= before:
            return "?"
        seconds = round((last - first) / (now - before) * (steps - step))
        hours, rest = divmod(seconds, 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def metrics(values: Mapping[str, Any]) -> str:
    """The metrics of a step that fit a line."""
    shown = [
        f"{label} {values[name]:.{digits}f}"
        for name, label, digits in (
            ("reward", "reward", 3),
            ("accuracy", "right", 2),
            ("similarity", "similarity", 2),
            ("loss", "loss", 3),
        )
        if values.get(name) is not None and not (name == "loss" and "reward" in values)
    ]
    if values.get("tokens_per_second"):
        shown.append(f"{values['tokens_per_second']:,.0f} tok/s")
    return "  ".join(shown)


def diagnosis_lines(event: Event) -> str:
    """What goes wrong, and below it what to change, as lines of the terminal's width."""
    from mentor_kit.report.tables import wrapped

    values = event.values
    place = f"{event.stage} step {event.step}" if event.step is not None else event.stage
    advice = f"  what helps: {values.get('advice')}" if values.get("advice") else ""
    lines = [f"warning: {place}: {values.get('text', '')}", advice]
    return "\n".join(wrapped(line, width()) for line in lines if line)


def evaluation_line(event: Event) -> str:
    """An evaluation in one line."""
    values = event.values
    shown = [
        f"{kind} {100 * found['accuracy']:.1f} % [{100 * found['low']:.0f}, {100 * found['high']:.0f}]"
        for kind in ("greedy", "sampled")
        if (found := values.get(kind))
    ]
    if values.get("similarity") is not None:
        shown.append(f"similarity {values['similarity']:.2f}")
    return f"{event.stage} evaluation at step {event.step}, {values.get('plan') or values.get('split')}: " + ", ".join(
        shown
    )
