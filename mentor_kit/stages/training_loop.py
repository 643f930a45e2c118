"""What every training stage does around its steps: begin or resume, evaluate, save, and stop when asked to."""

from __future__ import annotations

from collections.abc import Mapping

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluate import evaluate
from mentor_kit.stages.evaluation_report import checkpoint_metrics
from mentor_kit.stages.experiment import Experiment

#: What a checkpoint's state has as long as the evaluation after its step has not been made.
DUE = "evaluation_due"


def begin(experiment: Experiment, context: StageContext, optimizer: OptimizerSpec, *, reference: bool = False) -> int:
    """The number of steps that are done already; 0 for a fresh start.

    A fresh start makes the optimizer, keeps the reference policy where one is needed, and evaluates the student
    as it is if this is the first training stage. A resumed one makes the evaluation that its checkpoint waits for.
    """
    state = context.resumed()
    if state is not None:
        step = int(state["step"])
        if state.get(DUE):
            _evaluate(experiment, context, step, {name: value for name, value in state.items() if name != DUE})
        return step
    experiment.policy.prepare(optimizer)
    if reference:
        experiment.policy.snapshot_reference()
    if context.is_first and experiment.evaluation.at_start:
        evaluate(experiment, context, 0, experiment.evaluation.on)
    return 0


def finish_step(
    experiment: Experiment, context: StageContext, step: int, steps: int, state: Mapping[str, Json] | None = None
) -> None:
    """Save and evaluate after `step` where they are due; raise `Interrupted` if the user asked to stop.

    A checkpoint comes before the evaluation, so that what was trained is kept if that fails, and is told of its metrics
    afterwards, so that the best one can be told. A run that ends in between is resumed with the evaluation.
    """
    done = {"step": step, **(state or {})}
    if experiment.evaluation.on and experiment.evaluation.due(step, steps):
        context.checkpoint(step, {**done, DUE: True})
        context.check_stop()
        _evaluate(experiment, context, step, done)
    elif context.checkpoint_due(step, steps):
        context.checkpoint(step, done)
    context.check_stop()


def _evaluate(experiment: Experiment, context: StageContext, step: int, state: Mapping[str, Json]) -> None:
    """Evaluate after a step that has its checkpoint, and add the metrics to that."""
    reports = evaluate(experiment, context, step, experiment.evaluation.on)
    context.checkpoint(step, state, metrics=checkpoint_metrics(reports))
