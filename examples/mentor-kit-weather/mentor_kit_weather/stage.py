"""The stage `weather`: how hard the training problems are for the student as it is.

RL on groups learns from problems of which some attempts are right and some wrong: the share called `sometimes`.
"""

from __future__ import annotations

from collections import defaultdict

from mentor_kit.core.task import TRAIN
from mentor_kit.stages import EvaluationPlan, Experiment, SplitUse, Stage, Workload
from mentor_kit.stages.context import StageContext
from pydantic import BaseModel, ConfigDict, Field


class WeatherStageOptions(BaseModel):
    """What a recipe may write in `with:`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int = Field(default=16, gt=0)
    """How many of the first training problems are tried."""
    attempts: int = Field(default=4, gt=1)
    """Sampled attempts at each of them."""


class WeatherStage(Stage):
    """Records an event `difficulty` with the shares of problems solved never, sometimes and always."""

    def __init__(self, options: WeatherStageOptions) -> None:
        self.options = options

    def run(self, experiment: Experiment, context: StageContext) -> None:
        """Roll out and count; a resumed run that was here already goes on."""
        if context.resumed() is not None:
            return
        problems = experiment.problems(TRAIN, experiment.seed, self.options.problems)
        rollouts = experiment.collect_rollouts(problems, self.options.attempts, experiment.sampling, context.key)
        right: defaultdict[str, int] = defaultdict(int)
        for trajectory in rollouts:
            right[trajectory.problem_id] += trajectory.correct
        never = sum(count == 0 for count in right.values()) / len(right)
        always = sum(count == self.options.attempts for count in right.values()) / len(right)
        context.emit("difficulty", problems=len(right), never=never, sometimes=1 - never - always, always=always)
        if not context.is_first:  # the student of the stages before is kept
            context.checkpoint(0, {"step": 0})

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """Return what the stage needs, for dry runs and estimates of memory."""
        episodes = self.options.problems * self.options.attempts
        return Workload(
            steps=1,
            problems=self.options.problems,
            episodes=episodes,
            sequences=episodes,
            trains=False,
            evaluates=False,
            splits=(SplitUse(split=TRAIN),),
        )
