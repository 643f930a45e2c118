"""The contract of a stage: one entry of a recipe's `train` list."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluation_plan import EvaluationPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.workload import UNKNOWN, Workload


class Stage(ABC):
    """Base class of stages. A stage implements `run`; everything else is optional. Built by a stages plugin."""

    @abstractmethod
    def run(self, experiment: Experiment, context: StageContext) -> None:
        """Do the stage's work, from the state that `context.resumed()` returns.

        A stage that trains emits an event `step` after each of its steps.

        Raises:
            Interrupted: the user asked to stop; everything up to the last checkpoint is kept.
        """

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The stage's work, from its options alone.

        Optional. Without it the stage is not counted in plans and memory estimates, cannot be benchmarked, and none of
        its options can change when a run is resumed.

        Args:
            evaluation: the recipe's `evaluate`.
        """
        return UNKNOWN

    def check(self, experiment: Experiment) -> None:
        """Check that the stage can work with the experiment's components.

        Optional, and light: it is called for all stages before the first one runs.

        Raises:
            MentorKitError: it cannot.
        """
        return None
