"""Writers that a tracker's process runs in tests: one that writes down what it gets, and ones that misbehave."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from mentor_kit_trackers.curves import Point
from mentor_kit_trackers.options import TrackerOptions, WandbOptions
from mentor_kit_trackers.rollouts import TrackedRollout
from mentor_kit_trackers.writer import Level, Writer

from mentor_kit.hooks.tracker import Outcome


class Journal(Writer[TrackerOptions]):
    """Appends every call to `journal.jsonl` of the run folder, as trackers do that cannot forget."""

    OPTIONS = TrackerOptions

    def open(self) -> bool:
        self._write("open", self.run.name, self.run.id, self.run.recipe)
        return True

    def point(self, point: Point) -> None:
        self._write("point", point.series, point.step, dict(point.values))

    def rollouts(self, series: str, step: int, rollouts: Sequence[TrackedRollout]) -> None:
        teachers = [rollout.demonstration.teacher if rollout.demonstration else None for rollout in rollouts]
        self._write("rollouts", series, step, [rollout.scored.trajectory.id for rollout in rollouts], teachers)

    def message(self, title: str, text: str, step: int | None, time: float, level: Level) -> None:
        self._write("message", title, text, step, level)

    def replayed(self) -> None:
        self._write("replayed")

    def close(self, outcome: Outcome) -> None:
        self._write("close", outcome)

    def _write(self, *call: Any) -> None:
        with (self.run.folder / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(call)}\n")


class Forgetful(Journal):
    """Has lost what earlier processes wrote."""

    def open(self) -> bool:
        super().open()
        return False


class Slow(Journal):
    """Takes a while for each step."""

    def point(self, point: Point) -> None:
        time.sleep(0.2)
        super().point(point)


class Noisy(Journal):
    """Prints, prompts, takes over signals, and leaves threads and hooks behind that would keep a process for ever."""

    def open(self) -> bool:
        print("printed to standard output")
        os.write(2, b"written to standard error\n")
        signal.signal(signal.SIGINT, lambda *_: None)
        atexit.register(time.sleep, 600)
        threading.Thread(target=time.sleep, args=(600,)).start()
        # a prompt for a login gets no answer, and ends at once
        assert sys.stdin.read() == ""
        return super().open()


class FailsToOpen(Journal):
    """Cannot begin."""

    def open(self) -> bool:
        raise ConnectionError(f"connection refused by {self.options.timeout}\nsecond line")


class RepeatsKey(Writer[WandbOptions]):
    """Repeats its key in an error, as some servers do."""

    OPTIONS = WandbOptions

    def open(self) -> bool:
        raise PermissionError(f"{len(self.options.key or '')} letters in {self.options.key}")

    def point(self, point: Point) -> None: ...

    def close(self, outcome: Outcome) -> None: ...


class Exits(Journal):
    """Calls `sys.exit` at step 2."""

    def point(self, point: Point) -> None:
        super().point(point)
        if (point.series, point.step) == ("grpo", 2):
            sys.exit("enough")


class Crashes(Journal):
    """Its process is killed at step 2, as by a machine without memory."""

    def point(self, point: Point) -> None:
        if (point.series, point.step) == ("grpo", 2):
            os.kill(os.getpid(), signal.SIGKILL)
        super().point(point)


class SlowImport(Journal):
    """Its library takes longer to import than a server may take to answer."""

    def load(self) -> None:
        time.sleep(5)


class HangsAtOpen(Journal):
    """Waits for a server that does not answer."""

    def open(self) -> bool:
        time.sleep(600)
        return True


class HangsAtClose(Journal):
    """Waits for a server that has died, with a program of its own that does, too."""

    def close(self, outcome: Outcome) -> None:
        super().close(outcome)
        if os.fork() == 0:
            (self.run.folder / "grandchild").write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(600)
