"""What a run looks like while it runs: a live line on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from mentor_kit.runs import Event, Watchers

if TYPE_CHECKING:
    from mentor_kit.report.tables import Sheet


@contextmanager
def display(*, as_json: bool, plain: bool) -> Iterator[Watchers]:
    """Watchers that show a run on standard output, in the form that suits it."""
    if as_json:
        json_display = JsonDisplay()
        yield Watchers(on_event=json_display.event, on_progress=json_display.progress, on_stop=say_stopping)
    elif plain or not sys.stdout.isatty():
        plain_display = PlainDisplay()
        yield Watchers(on_event=plain_display.event, on_progress=plain_display.progress, on_stop=say_stopping)
    else:
        with LiveDisplay() as live:
            yield Watchers(on_event=live.event, on_progress=live.progress, on_stop=live.stopping)


#: What the first Ctrl-C is answered with.
STOPPING = "stopping after this step; Ctrl-C again stops at once"


def say_stopping() -> None:
    """Answer Ctrl-C on standard error, past its buffer, which the signal may have come in the midst of."""
    with suppress(OSError):
        os.write(2, f"{STOPPING}\n".encode())


def width() -> int:
    """Columns there are: those of the terminal, or of `COLUMNS`, or 80."""
    return shutil.get_terminal_size((80, 24)).columns


def show(sheets: Sequence[Sheet], *, plain: bool) -> None:
    """Tables: drawn on a terminal, plain lines elsewhere; in the columns there are."""
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


#: Seconds between two lines on episodes.
EVERY = 10.0


class Rarely:
    """Lets the first word on each evaluation through, and then one now and then; other stages' all."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        """When a stage's episodes were told of last."""

    def lets(self, stage: str, done: int, values: Mapping[str, float]) -> bool:
        """Whether to say how far a stage is; what is counted in steps has an event of its own for each."""
        if "episodes" not in values:
            return "steps" not in values
        now = time.monotonic()
        if done and now - self._said.setdefault(stage, now) < EVERY:
            return False
        self._said[stage] = now
        return True


class JsonDisplay:
    """A line of JSON for each thing that happened, and for how far a stage is."""

    def __init__(self) -> None:
        self._rarely = Rarely()

    def event(self, event: Event) -> None:
        """Show an event."""
        typer.echo(event.to_json())

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Show how far a stage is, as an event that is not in the run's record."""
        if self._rarely.lets(stage, done, values):
            typer.echo(Event.now("progress", stage, {"done": done, "total": total, **values}).to_json())


class PlainDisplay:
    """A line for each thing that happened."""

    def __init__(self) -> None:
        self._clock = RemainingTime()
        self._rarely = Rarely()

    def event(self, event: Event) -> None:
        """Show an event."""
        if line := self.line(event):
            typer.echo(line)

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Show how far a stage is, unless it is a step's event that says so; episodes now and then."""
        name = _named(stage, values)
        left = self._clock.remaining(name, done, total)
        if self._rarely.lets(stage, done, values):
            typer.echo(f"{name} {done}/{total}  {left}".rstrip())

    def line(self, event: Event) -> str:
        """The event in one line; empty for those nobody needs to see."""
        values = event.values
        if event.kind == "step":
            steps = int(values.get("steps", 0))
            left = self._clock.remaining(event.stage, event.step or 0, steps)
            return f"{event.stage} step {event.step}/{steps}  {measures(values)}  {left}".rstrip()
        if event.kind == "evaluation":
            return evaluation_line(event)
        if event.kind == "note":
            return f"note: {values.get('text', '')}"
        if event.kind in ("run_resume", "collected", "export"):
            return f"{event.kind.replace('run_', '')}: " + ", ".join(f"{k} {v}" for k, v in values.items())
        return ""


class LiveDisplay:
    """A progress bar with the measures of the last step; evaluations are printed above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.table import Column
        from rich.text import Text

        class Rest(ProgressColumn):
            """What is cut where the line is too long."""

            def render(self, task: Task) -> Text:
                return Text(task.fields["measures"], no_wrap=True, overflow="ellipsis")

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
        """Show an event."""
        # steps move the bar, by `progress`
        if event.kind != "step" and (line := self._plain.line(event)):
            self._console.print(line, highlight=False, markup=False)

    def stopping(self) -> None:
        """Answer Ctrl-C, above the bar where the console is free."""
        try:
            self._console.print(STOPPING, highlight=False)
        except RuntimeError:  # the signal came in the midst of a write
            say_stopping()

    def progress(self, stage: str, done: int, total: int, values: Mapping[str, float]) -> None:
        """Move the stage's bar, or that of the evaluation in it, which goes when it is over."""
        name = _named(stage, values)
        left = self._clock.remaining(name, done, total)
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, measures="", left="")
        self._progress.update(self._tasks[name], completed=done, total=total, measures=measures(values), left=left)
        if name != stage and done >= total:
            self._progress.remove_task(self._tasks.pop(name))


def _named(stage: str, values: Mapping[str, float]) -> str:
    """How the line on a stage's progress calls it: a training stage's evaluation is another thing than its steps."""
    return f"{stage} evaluation" if "episodes" in values and not stage.endswith("-evaluate") else stage


class RemainingTime:
    """Estimates the time a stage has left from its last steps."""

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, int]]] = {}

    def remaining(self, stage: str, step: int, steps: int) -> str:
        """Such as `1:05 left`; nothing at the beginning, and where nothing is left."""
        left = self.left(stage, step, steps)
        return f"{left} left" if 0 < step < steps else ""

    def left(self, stage: str, step: int, steps: int) -> str:
        """Such as `1:05`; `?` while there is one step to go by."""
        seen = self._seen.setdefault(stage, [])
        seen.append((time.monotonic(), step))
        del seen[:-20]
        if len(seen) > 1 and step < seen[-2][1]:
            # another round, such as the next split of an evaluation
            del seen[:-1]
        (first, before), (last, now) = seen[0], seen[-1]
        if now <= before:
            return "?"
        seconds = round((last - first) / (now - before) * (steps - step))
        hours, rest = divmod(seconds, 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def measures(values: Mapping[str, Any]) -> str:
    """The measures of a step that a person wants to see."""
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
