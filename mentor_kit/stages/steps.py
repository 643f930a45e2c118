"""What every training stage does around its steps: begin or resume, evaluate, save, and stop when asked to."""

from __future__ import annotations

from collections.abc import Mapping

from mentor_kit.policy import OptimizerSpec
from mentor_kit.record import Json
from mentor_kit.stage import StageContext
from mentor_kit.stages.evaluate import evaluate, flat
from mentor_kit.stages.experiment import Experiment


def begin(experiment: Experiment, context: StageContext, optimizer: OptimizerSpec, *, reference: bool = False) -> int:
    """The number of steps that are done already; 0 for a fresh start.

    A fresh start makes the optimizer, keeps the reference policy where one is needed, and evaluates the student
    as it is if this is the first training stage.
    """
    state = context.resumed()
    if state is not None:
        return int(state["step"])
    experiment.policy.prepare(optimizer)
    if reference:
        experiment.policy.snapshot_reference()
    if context.is_first and experiment.evaluation.at_start:
        evaluate(experiment, context, 0, experiment.evaluation.on)
    return 0


def finish_step(
    experiment: Experiment, context: StageContext, step: int, steps: int, state: Mapping[str, Json] | None = None
) -> None:
    """Evaluate and save after `step` where they are due; raise `Interrupted` if the user asked to stop.

    An evaluation is always followed by a checkpoint, so that the best one can be told.
    """
    metrics = {}
    if experiment.evaluation.on and experiment.evaluation.due(step, steps):
        metrics = flat(evaluate(experiment, context, step, experiment.evaluation.on))
    if metrics or context.checkpoint_due(step, steps):
        context.checkpoint(step, {"step": step, **(state or {})}, metrics=metrics)
    context.check_stop()
