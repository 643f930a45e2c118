"""A list of runs: how each stands and what it has reached, read from the folders without parsing whole files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mentor_kit.core.errors import DataError
from mentor_kit.core.event import RUN_END, RUN_RESUME, RUN_START, Event
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.folder import RunFolder
from mentor_kit.runs.jsonl import read_lines
from mentor_kit.runs.lock import is_locked

#: How a run stands: `stopped` by the user, `killed` where it ended without recording how.
RunState = Literal["running", "done", "stopped", "failed", "killed"]

#: States by the outcome that a run records at its end.
_STATES: dict[str, RunState] = {"done": "done", "interrupted": "stopped", "failed": "failed"}

_KIND = re.compile(rb'\{"kind":\s*"(\w+)"')
_ID = re.compile(r"(\d{8}-\d{6})-[0-9a-f]{4}")


@dataclass(frozen=True)
class ReachedAccuracy:
    """The accuracy of an evaluation."""

    plan: str
    """The evaluation's name, such as `out-of-domain`."""
    kind: Literal["greedy", "sampled"]
    step: int
    accuracy: float
    """A share, in [0, 1]."""
    low: float | None
    """The bounds of its 95 % interval; None where the evaluation gives none."""
    high: float | None


@dataclass(frozen=True)
class RunSummary:
    """A run in a list of runs."""

    name: str
    """The recipe's name, that of the folder around the run's."""
    id: str
    path: Path
    state: RunState | None = None
    """None where the folder is broken."""
    stage: str = ""
    """The key of the stage of its last training step; empty where there was none."""
    step: int = 0
    steps: int | None = None
    """The number of that stage's steps; None where the stage does not say."""
    accuracy: ReachedAccuracy | None = None
    """Of the last evaluation: greedy, or sampled where nothing is greedy."""
    bytes: int = 0
    """The size of all files."""
    started: str | None = None
    """UTC, ISO 8601."""
    updated: str | None = None
    """When its last event was; UTC, ISO 8601."""
    fault: str = ""
    """Why the folder cannot be read as a run; empty where it can."""

    @property
    def key(self) -> str:
        """`name/id`."""
        return f"{self.name}/{self.id}"

    def age(self, now: datetime | None = None) -> float | None:
        """Seconds since it started; None where that is unknown."""
        if self.started is None:
            return None
        return max(0.0, ((now or datetime.now(UTC)) - datetime.fromisoformat(self.started)).total_seconds())

    def to_json(self) -> dict[str, Json]:
        """The summary as JSON, with its age in seconds."""
        return asdict(self) | {"path": str(self.path), "age": self.age()}


@dataclass
class RunLister:
    """Lists the runs of a folder; those in which nothing has changed since the last time are not read again.

    Args:
        root: the folder of all runs.
    """

    root: Path
    _known: dict[Path, tuple[Json, RunSummary]] = field(default_factory=dict, repr=False)

    def list(self, last: int | None = None) -> list[RunSummary]:
        """The runs, newest first, and folders that ought to be runs, with their `fault`.

        Args:
            last: so many of the newest; all if left out.

        Raises:
            DataError: the folder of all runs cannot be read.
        """
        found = sorted(_candidates(self.root), key=_newest_first, reverse=True)
        return [self.summary(path) for path in found[:last]]

    def summary(self, path: Path) -> RunSummary:
        """The summary of one run folder."""
        sign = _signature(path)
        known = self._known.get(path)
        if known is None or known[0] != sign:
            known = self._known[path] = sign, summarize(path)
        return known[1]


def summarize(path: Path) -> RunSummary:
    """The summary of a run folder; of a broken one with its `fault`."""
    folder = RunFolder(path)
    summary = RunSummary(folder.name, folder.id, path, bytes=_size(path), started=_started(folder))
    try:
        return _read(summary, folder)
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = str(error).split("\n")[0] or type(error).__name__
        return replace(summary, fault=text.replace(f"{path}{os.sep}", ""))


def _read(summary: RunSummary, folder: RunFolder) -> RunSummary:
    """The summary with what the events say."""
    if not folder.recipe.is_file():
        raise DataError("it has no recipe.yaml")
    with folder.recipe.open("rb") as file:
        if not file.read(1):
            raise DataError("its recipe.yaml is empty")
    last: dict[str, Event] = {}
    for event in _telling(folder.events):
        last["bound" if event.kind in (RUN_START, RUN_RESUME, RUN_END) else event.kind] = event
        last.setdefault("first", event)
    bound, step = last.get("bound"), last.get("step")
    state: RunState = "killed"
    if is_locked(folder.path):
        state = "running"
    elif bound is not None and bound.kind == RUN_END:
        state = _STATES[bound.values["outcome"]]
    times = [_checked_time(event.time) for event in last.values()]
    return replace(
        summary,
        state=state,
        stage=step.stage if step is not None else "",
        step=(step.step or 0) if step is not None else 0,
        steps=step.values.get("steps") if step is not None else None,
        accuracy=_accuracy(last["evaluation"]) if "evaluation" in last else None,
        started=last["first"].time if "first" in last else summary.started,
        updated=max(times) if times else summary.started,
    )


def _checked_time(text: str) -> str:
    """An event's time.

    Raises:
        DataError: it is not ISO 8601 with a time zone.
    """
    try:
        known = datetime.fromisoformat(text).tzinfo is not None
    except (TypeError, ValueError):
        known = False
    if not known:
        raise DataError(f"events.jsonl: an event's time is {text!r}; expected ISO 8601 in UTC")
    return text


def _telling(path: Path) -> Iterator[Event]:
    """The events that a summary needs, in order: bounds, evaluations, and the last step, whose line alone is parsed."""
    step: bytes | None = None
    for number, line in enumerate(read_lines(path), start=1):
        kind = _KIND.match(line)
        name = kind.group(1).decode() if kind is not None else ""
        if name == "step":
            step = line
        elif not name or name in (RUN_START, RUN_RESUME, RUN_END, "evaluation"):
            yield _event(line, path, number)
    if step is not None:
        yield _event(step, path, 0)


def _event(line: bytes, path: Path, number: int) -> Event:
    try:
        return Event.from_json(line)
    except ValueError as error:
        raise DataError(f"{path}{f':{number}' if number else ''}: {error}") from None


def _accuracy(event: Event) -> ReachedAccuracy | None:
    for kind in ("greedy", "sampled"):
        found = event.values.get(kind)
        if isinstance(found, dict) and isinstance(found.get("accuracy"), int | float):
            return ReachedAccuracy(
                plan=str(event.values.get("plan") or event.values.get("split") or ""),
                kind="greedy" if kind == "greedy" else "sampled",
                step=event.step or 0,
                accuracy=float(found["accuracy"]),
                low=found.get("low"),
                high=found.get("high"),
            )
    return None


def _candidates(root: Path) -> Iterator[Path]:
    """The run folders in a folder of runs, and those that look like one."""
    for around in _folders(root):
        try:
            inside = _folders(around)
        except DataError:
            continue  # a folder of somebody else's, which may not be looked into
        for path in inside:
            if _ID.fullmatch(path.name) or _has_files(path):
                yield path


def _has_files(path: Path) -> bool:
    """Whether a file of a run is in a folder; also where that may not be looked for."""
    try:
        return (path / "recipe.yaml").exists() or (path / "events.jsonl").exists()
    except OSError:
        return True


def _folders(around: Path) -> list[Path]:
    """The folders in a folder, without hidden ones.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return [path for path in around.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError as error:
        raise DataError(f"{around} cannot be read: {error.strerror}", hint="name the folder of all runs") from None


def _newest_first(path: Path) -> tuple[str, int, str]:
    """A sorting key: the time in the id, and of equal ones the one whose recipe was written later."""
    folder = RunFolder(path)
    try:
        written = folder.recipe.stat().st_mtime_ns
    except OSError:
        written = 0
    return _started(folder) or "", written, folder.id


def _started(folder: RunFolder) -> str | None:
    """When the run was made: by its id, or else by its recipe's file, or the folder."""
    found = _ID.fullmatch(folder.id)
    try:
        if found is not None:
            return datetime.strptime(found.group(1), "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat()
        place = folder.recipe if folder.recipe.exists() else folder.path
        return datetime.fromtimestamp(place.stat().st_mtime, UTC).isoformat()
    except (OSError, ValueError):
        return None


def _signature(path: Path) -> Json:
    """Changes when the summary of a run may have changed."""
    folder = RunFolder(path)
    found: list[Json] = [is_locked(path)]
    for file in (folder.events, folder.recipe):
        try:
            status = file.stat()
            found += [status.st_size, status.st_mtime_ns]
        except OSError:
            found.append(None)
    return found


def _size(path: Path) -> int:
    """The bytes of all files in a folder; those that vanish meanwhile do not count."""
    total = 0
    for around, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(around, name)).st_size  # noqa: PTH118 (many files)
            except OSError:
                continue
    return total
