"""Runs of recipes as jobs: each has a folder of its own, so that what is done is kept and what was stopped is resumed.

A driver gives a list of jobs and may be stopped anywhere; given again, it goes on where it stopped. An interruption
reaches the run, which ends after its current step with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from mentor_kit.runs import Run


@dataclass(frozen=True)
class Job:
    """A run of a recipe, or an evaluation of another run's student."""

    recipe: str
    """The shipped recipe's name."""
    folder: Path
    """Where its run folders go; of this job alone."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe, as `--set` takes them."""
    evaluates: Path | None = None
    """The run whose student is evaluated; None for a run that trains."""
    student: Path | None = None
    """The model's folder that is evaluated as it is."""
    threads: int = 1

    def finish(self) -> float:
        """Run it, resume it, or do nothing where it is done; returns the seconds this took.

        Raises:
            SystemExit: the run failed; its folder's `log.txt` says why.
        """
        if finished(self.folder) is not None:
            return 0.0
        started = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.txt").open("a") as log:
            code = mentorkit(*self._command(), log=log, threads=self.threads)
        if code:
            raise SystemExit(f"{self.recipe} ended with {code}; {self.folder / 'log.txt'} says why")
        return time.monotonic() - started

    def _command(self) -> list[str]:
        place = ["--output", str(self.folder), "--plain"]
        stopped = unfinished(self.folder)
        subject = self.evaluates or self.student
        if stopped is not None and subject is None:
            return ["run", str(stopped), "--resume", *place]
        settings = [
            word for setting in (*self.settings, f"backend.threads={self.threads}") for word in ("--set", setting)
        ]
        if subject is None:
            return ["run", self.recipe, *settings, *place]
        return ["evaluate", self.recipe, "--run" if self.evaluates else "--student", str(subject), *settings, *place]


#: Commands that run now.
_RUNNING: set[subprocess.Popen[bytes]] = set()


def side_by_side(planned: Sequence[Job], workers: int) -> Iterator[float]:
    """Finish jobs, so many at a time; yields the seconds of each, in their order.

    An interruption, or a job that fails, ends the others after their current step.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(Job.finish, planned)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _interrupt()
        raise
    finally:
        pool.shutdown()


def mentorkit(*arguments: str, log: IO[str] | None = None, threads: int = 1) -> int:
    """Run a command of the command line with so many threads; returns its exit code."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "mentor_kit.cli", *arguments]
    # a session of its own: Ctrl-C reaches it once, by the driver; a second one would cut its step short
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    _RUNNING.add(process)
    try:
        return process.wait()
    except BaseException:
        _interrupt()
        process.wait()
        raise
    finally:
        _RUNNING.discard(process)


def _interrupt() -> None:
    """Let all commands end after their current step."""
    for process in list(_RUNNING):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


def finished(folder: Path) -> Path | None:
    """The complete run below a job's folder, if there is one."""
    return next((run for run in _runs(folder) if Run.open(run).outcome == "done"), None)


def unfinished(folder: Path) -> Path | None:
    """The newest run below a job's folder that was stopped; None where one is done, or none was begun."""
    if finished(folder) is not None:
        return None
    return max(_runs(folder), key=lambda run: run.stat().st_mtime, default=None)


def _runs(folder: Path) -> list[Path]:
    return [events.parent for events in sorted(folder.glob("*/*/events.jsonl"))]


@contextmanager
def stoppable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, and end with 130 and a line about how to go on."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
