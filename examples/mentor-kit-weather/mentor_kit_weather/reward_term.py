"""The reward term `weather`: final answers of few words."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Term
from pydantic import BaseModel, ConfigDict, Field


class WeatherTermOptions(BaseModel):
    """What a recipe may write in `with:`; anything else is refused with its line and column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: int = Field(default=10, gt=0)
    """The final answer's largest number of words that still scores 1."""


class WeatherTerm(Term):
    """1 up to `words` words in the final answer, then falling: twice as many words score a half."""

    def __init__(self, options: WeatherTermOptions) -> None:
        self.options = options

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """Return the score, from 0 to 1."""
        return min(1.0, self.options.words / max(len(trajectory.final_text.split()), 1))
