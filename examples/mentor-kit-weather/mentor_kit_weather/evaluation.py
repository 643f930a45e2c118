"""The evaluation `weather`: the student without its tools, beside what it reaches with them."""

from __future__ import annotations

from dataclasses import replace

from mentor_kit.core.task import IN_DOMAIN
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.stages import Evaluation, EvaluationResult, Experiment, SplitPlan
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluate import evaluate_split
from pydantic import BaseModel, ConfigDict, Field


class WeatherEvaluationOptions(BaseModel):
    """What a recipe may write in `with:`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: str = IN_DOMAIN
    """The split whose problems are asked."""
    problems: int = Field(default=50, gt=0)
    """How many of them."""


class WeatherEvaluation(Evaluation):
    """Greedy episodes without tools; its name in reports is that of the split with `-without-tools` behind it."""

    def __init__(self, options: WeatherEvaluationOptions) -> None:
        self.options = options

    def check(self, experiment: Experiment) -> None:
        """Check that the task has the split, before the run's first step."""
        experiment.check_split(self.options.split)

    def evaluate(self, experiment: Experiment, context: StageContext) -> EvaluationResult:
        """Evaluate the student as it is now."""
        alone = replace(experiment, toolbox=Toolbox([]), teacher=None, reward=None)
        plan = SplitPlan(split=self.options.split, problems=self.options.problems, samples=0)
        found = evaluate_split(alone, context, plan)
        return found._replace(report=found.report | {"split": f"{self.options.split}-without-tools"})
