"""A stage's context that measures its steps, and stops it after enough of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mentor_kit.backend.flops import Work
from mentor_kit.backend.policy import Policy
from mentor_kit.benchmark.clock import ActivityClock
from mentor_kit.benchmark.clocked import CallCounts
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import Interrupted, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.rl.reward import Scored


class MeasuredEnough(Interrupted):
    """Raised in a stage after the last step that is measured."""


@dataclass(frozen=True)
class Reading:
    """Everything that is measured, read at the end of a step."""

    time: float
    """Seconds of a monotonic clock."""
    clock: dict[str, float]
    """Seconds so far by activity."""
    counts: CallCounts
    work: dict[str, Work]
    """The policy's work so far, by kind."""


@dataclass
class StepLog:
    """A `mentor_kit.stages.context.StageContext` that takes a reading after each step, and writes nothing."""

    policy: Policy
    key: str
    wanted: int
    """Number of steps after which the stage is stopped."""
    clock: ActivityClock = field(default_factory=ActivityClock)
    counts: CallCounts = field(default_factory=CallCounts)
    readings: list[Reading] = field(default_factory=list)
    demonstrations: list[Demonstration] = field(default_factory=list)
    is_first: bool = False

    @property
    def steps(self) -> int:
        """Number of steps that have ended."""
        return len(self.readings) - 1

    def read(self) -> None:
        """Take a reading; the first one is taken before the first step."""
        work = self.policy.work()
        self.readings.append(Reading(time.perf_counter(), self.clock.read(), replace(self.counts), work))

    def emit(self, kind: str, **values: Json) -> None:
        if kind == "step":
            self.check_stop()  # for a stage that does not call it itself
            self.read()

    def progress(self, done: int, total: int, **values: float) -> None:
        pass

    def recorded_rollouts(self, step: int) -> Sequence[Scored]:
        return ()

    def forget_recorded_rollouts(self) -> None:
        return

    def write_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        pass

    def write_evaluation(
        self,
        name: str,
        report: Mapping[str, Json],
        scored: Sequence[Scored],
        outcomes: Sequence[Mapping[str, Json]] = (),
    ) -> None:
        pass

    def write_problems(self, problems: Sequence[Problem]) -> None:
        pass

    def write_demonstrations(self, demonstrations: Sequence[Demonstration]) -> None:
        self.demonstrations += demonstrations

    def read_demonstrations(self) -> Sequence[Demonstration]:
        return self.demonstrations

    def checkpoint(
        self,
        step: int,
        state: Mapping[str, Json],
        *,
        metrics: Mapping[str, float] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        pass

    def resumed(self) -> Mapping[str, Json] | None:
        return None

    def resumed_file(self, name: str) -> str | None:
        return None

    def check_stop(self) -> None:
        if self.steps >= self.wanted:
            raise MeasuredEnough("enough was measured")

    def checkpoint_due(self, step: int, steps: int) -> bool:
        return False

    def write_folder(self, name: str, fill: Callable[[Path], object]) -> Path:
        raise UsageError(f"a stage that writes the folder {name!r} cannot be benchmarked")
