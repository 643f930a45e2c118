"""The results of an engine's run: the metrics of its steps, the episodes that it played, and its final weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.rl.reward import Scored


class PlayedEpisode(FrozenModel):
    """An episode that an engine played: the row that it was of, the step, and the outcome."""

    step: int
    """The training step, from 1; in evaluations the number of steps done before it."""
    row: int
    """The place of its row."""
    index: int = 0
    """Its index among the episodes of the row, from 0."""
    scored: Scored
    """The trajectory with its reward."""
    evaluation: str = ""
    """As the row's."""
    greedy: bool = False
    """As the row's."""
    time: float = 0.0
    """When it ended, in seconds since 1970: of an episode that was played twice the later one counts."""

    @property
    def key(self) -> tuple[int, int, int]:
        """What tells it from every other episode of a run; sorts by steps and rows."""
        return self.step, self.row, self.index


@dataclass(frozen=True)
class TrainingStep:
    """The metrics that an engine logged for a training step."""

    step: int
    """From 1."""
    metrics: Mapping[str, float]
    """By the names that mentor-kit has for them, such as `loss` and `gradient_norm`."""
    logged: Mapping[str, float]
    """All numbers, by the engine's own names."""


@dataclass(frozen=True)
class EngineResults:
    """All that an engine's run left behind."""

    steps: Sequence[TrainingStep]
    """In order; a step that was done twice counts as it was done last."""
    episodes: Sequence[PlayedEpisode]
    """Sorted by their keys; of an episode that was played twice the later one alone."""
    student: Path | None = None
    """A folder with the final student in transformers' format; None where the run left none."""
    adapter: Path | None = None
    """A folder with the final adapter in PEFT's format; None where whole weights were trained, or nothing was left."""
    weights_step: int = 0
    """The step that the weights are of; 0 where there are none."""
