"""The contract of an evaluation that a plugin brings, such as a benchmark with its own checker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.reward import Scored
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.experiment import Experiment


class EvaluationResult(NamedTuple):
    """The result of one evaluation."""

    report: dict[str, Json]
    """At least `split` (the evaluation's name; a taken one gets a number), `problems`, and `greedy` with `accuracy`,
    `low` and `high`. With `outcomes`, from a problem's id to [0 or 1], evaluations are compared by problem."""
    scored: Sequence[Scored]
    """Every trajectory with its reward, greedy ones first."""
    rows: Sequence[Mapping[str, Json]] = ()
    """The same as flat rows, for data frames."""


class Evaluation(ABC):
    """Base class of evaluations. One implements `evaluate`; `check` is optional. Built by an evaluations plugin."""

    @abstractmethod
    def evaluate(self, experiment: Experiment, context: StageContext) -> EvaluationResult:
        """Evaluate the student as it is now.

        Args:
            experiment: with the student, the task and the tools.
            context: the run. `write_problems` keeps the evaluation's problems, for those who look at its episodes.
        """

    def check(self, experiment: Experiment) -> None:
        """Check that the evaluation can work with the experiment; called before the run's first step.

        Raises:
            MentorKitError: it cannot.
        """
        return None


def evaluation_of(experiment: Experiment, spec: ComponentSpec) -> Evaluation:
    """The evaluation that a recipe names; each is built once an experiment.

    Raises:
        UsageError: the experiment was made without plugins.
        PluginError: the plugin built something else.
    """
    built = experiment.built_evaluation(spec)
    if not isinstance(built, Evaluation):
        raise PluginError(
            f"the evaluation {spec.use!r} is a {type(built).__name__}; expected a `mentor_kit.stages.Evaluation`",
            hint="this is a fault of the plugin: let its class extend `mentor_kit.stages.Evaluation`",
        )
    return built
