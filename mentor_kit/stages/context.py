"""The run as a stage sees it, which keeps stages free of files and clocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.rl.reward import Scored


class ProblemRecorder(Protocol):
    """The part of a stage's context that keeps problems and their demonstrations."""

    def write_problems(self, problems: Sequence[Problem]) -> None:
        """Keep the problems that rollouts or an evaluation are about; those that are kept already change nothing."""
        ...

    def write_demonstrations(self, demonstrations: Sequence[Demonstration]) -> None:
        """Append demonstrations; from then on they survive a kill."""
        ...


class StageContext(ProblemRecorder, Protocol):
    """The run, as a stage sees it. `mentor_kit.runs` implements it; a test may do so with lists."""

    @property
    def key(self) -> str:
        """The stage's own name in the run: its position and use, such as `1-grpo`."""
        ...

    def emit(self, kind: str, **values: Json) -> None:
        """Record an event (`step`, `evaluation`, `note`, …), and give it to the run's trackers.

        Args:
            kind: what happened; a stage may have kinds of its own.
            values: what is known of it. `step` becomes the event's own. A `step` event with `steps`, their number, is
                progress, too.
        """
        ...

    def progress(self, done: int, total: int, **values: float) -> None:
        """Show the user how far the stage is; nothing is recorded.

        Args:
            done: how many of the stage's steps, problems or episodes are done.
            total: how many there are.
            values: metrics to show beside it.
        """
        ...

    def write_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        """Keep a step's trajectories with their rewards, and give them to the run's trackers."""
        ...

    def recorded_rollouts(self, step: int) -> Sequence[Scored]:
        """What the run recorded of a step after the checkpoint that it was resumed from; empty where nothing is."""
        ...

    def forget_recorded_rollouts(self) -> None:
        """Remove what was recorded of steps that are not made again yet."""
        ...

    def write_evaluation(
        self,
        name: str,
        report: Mapping[str, Json],
        scored: Sequence[Scored],
        outcomes: Sequence[Mapping[str, Json]] = (),
    ) -> None:
        """Keep an evaluation, and give its trajectories to the run's trackers.

        Args:
            name: of its files: the stage's key, the step and the split.
            report: its metrics, with the `step` after which it was made.
            scored: its trajectories with their rewards, greedy ones first.
            outcomes: a flat row for each of them.
        """
        ...

    def read_demonstrations(self) -> Sequence[Demonstration]:
        """All demonstrations of this run so far."""
        ...

    def checkpoint(
        self,
        step: int,
        state: Mapping[str, Json],
        *,
        metrics: Mapping[str, float] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Save the policy and the stage's state after `step`; `metrics` decide which checkpoint is the best.

        A second call for a step saved without metrics, and with no step in between, brings them and another state; the
        policy and the files are not saved again.

        Args:
            step: that is done.
            state: what the stage resumes from.
            metrics: of the student now.
            files: what the stage resumes from as well and is too large for the state: contents by name.
        """
        ...

    def resumed(self) -> Mapping[str, Json] | None:
        """The state of this stage's last checkpoint, the policy already restored; None for a fresh start."""
        ...

    def resumed_file(self, name: str) -> str | None:
        """The content of a file of that checkpoint; None where it has no such file, and for a fresh start."""
        ...

    def check_stop(self) -> None:
        """Raise `Interrupted` if the user has asked to stop; stages call it between steps, after a due checkpoint."""
        ...

    def checkpoint_due(self, step: int, steps: int) -> bool:
        """Whether the recipe wants a checkpoint after `step` of `steps`, or the user has asked to stop."""
        ...

    @property
    def is_first(self) -> bool:
        """Whether no training stage comes before this one."""
        ...

    def write_folder(self, name: str, fill: Callable[[Path], object]) -> Path:
        """Make a folder inside the run: `fill` fills it under a temporary name, then it is put in place, whole."""
        ...
