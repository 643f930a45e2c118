"""What a stage sees of the run around it: a context that keeps stages free of files and clocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.reward import Scored


class StageContext(Protocol):
    """The run, as a stage sees it. Implemented by `mentor_kit.runs`; a test may implement it with lists."""

    @property
    def key(self) -> str:
        """The stage's own name in the run: its position and use, such as `1-grpo`."""
        ...

    def emit(self, kind: str, **values: Json) -> None:
        """Append an event (`step`, `evaluation`, `note`, …) to the run's record and show it to the user."""
        ...

    def progress(self, done: int, total: int, **values: float) -> None:
        """Tell the user how far the stage is; nothing is recorded."""
        ...

    def write_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        """Keep a step's trajectories with their rewards."""
        ...

    def write_evaluation(
        self,
        name: str,
        report: Mapping[str, Json],
        scored: Sequence[Scored],
        outcomes: Sequence[Mapping[str, Json]] = (),
    ) -> None:
        """Keep an evaluation's report, its trajectories, and a flat row for each of them."""
        ...

    def write_demonstrations(self, demonstrations: Sequence[Demonstration]) -> None:
        """Append demonstrations; they survive a kill as soon as this returns."""
        ...

    def read_demonstrations(self) -> Sequence[Demonstration]:
        """All demonstrations of this run so far."""
        ...

    def checkpoint(self, step: int, state: Mapping[str, Json], *, metrics: Mapping[str, float] | None = None) -> None:
        """Save the policy and the stage's state after `step`; `metrics` decide which checkpoint is the best.

        A second call for a step saved without metrics, and with no step in between, brings them and another state; the
        policy is not saved again.
        """
        ...

    def resumed(self) -> Mapping[str, Json] | None:
        """The state of this stage's last checkpoint, the policy already restored; None for a fresh start."""
        ...

    def check_stop(self) -> None:
        """Raise `Interrupted` if the user asked to stop; stages call it between steps, after a checkpoint is due."""
        ...

    def checkpoint_due(self, step: int, steps: int) -> bool:
        """Whether the recipe wants a checkpoint after `step` of `steps`, or a stop was asked for."""
        ...

    @property
    def is_first(self) -> bool:
        """Whether no training stage comes before this one."""
        ...

    def write_folder(self, name: str, fill: Callable[[Path], None]) -> Path:
        """A folder inside the run, filled by `fill` under a temporary name and then put in place, whole."""
        ...
