"""Where the rollouts of a step come from: episodes that the step runs and waits for, or a buffer of them.

`StepRollouts` runs the episodes of each step with the step's weights and waits for all. With a staleness above 0,
`mentor_kit.stages.overlapped_rollouts` has them run on beside updates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.problem_stream import ProblemStream
from mentor_kit.stages.training_loop import StageState


class RolloutSource(ABC):
    """Base class of what gives a stage its rollouts; entered as a context, which ends what still runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def take(self, count: int, step: int, round: int) -> tuple[list[Problem], list[Trajectory]]:
        """The next `count` problems, and the trajectories of each, those of a problem next to each other.

        Args:
            count: number of problems.
            step: that takes them, from 1.
            round: of dynamic sampling, from 0.
        """

    def metrics(self) -> Mapping[str, float]:
        """Metrics of the source after a step's last `take`; empty where there are none."""
        return {}

    @abstractmethod
    def state(self) -> StageState:
        """What a checkpoint keeps of it."""

    def held(self) -> AbstractContextManager[None]:
        """A context in which nothing is sampled for it, for evaluations."""
        return nullcontext()


@dataclass(frozen=True)
class StepRollouts(RolloutSource):
    """Runs the episodes of a step side by side, and waits for all of them."""

    experiment: Experiment
    stream: ProblemStream
    key: str
    """The stage's, which seeds depend on."""
    group: int
    """Episodes of a problem."""

    def take(self, count: int, step: int, round: int) -> tuple[list[Problem], list[Trajectory]]:
        problems = self.stream.take(count)
        return problems, self.collect(problems, step, round)

    def collect(self, problems: list[Problem], step: int, round: int) -> list[Trajectory]:
        """The trajectories of problems, sampled now; arguments as for `take`."""
        experiment = self.experiment
        return experiment.collect_rollouts(problems, self.group, experiment.sampling, self.key, step, round)

    def state(self) -> StageState:
        return StageState({"position": self.stream.position})
