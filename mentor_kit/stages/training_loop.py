"""The frame of every training loop: begin or resume, evaluate, save checkpoints, and stop when asked to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluate import evaluate
from mentor_kit.stages.evaluation_report import checkpoint_metrics
from mentor_kit.stages.experiment import Experiment

#: The key of a checkpoint's state as long as the evaluation after its step has not been made.
DUE = "evaluation_due"


@dataclass(frozen=True)
class StageState:
    """What a stage resumes from."""

    values: Mapping[str, Json]
    """Small values, by name."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Contents of files of their own, by name, for what is large."""


def begin(experiment: Experiment, context: StageContext, optimizer: OptimizerSpec, *, reference: bool = False) -> int:
    """Begin a training stage or resume it; returns the number of steps that are done already.

    A fresh start prepares the optimizer, makes the reference policy where one is needed, and evaluates the student if
    this is the first training stage. A resumed one makes the evaluation that is due since its checkpoint.
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
    experiment: Experiment,
    context: StageContext,
    step: int,
    steps: int,
    state: Mapping[str, Json] | Callable[[], StageState] | None = None,
) -> None:
    """Save and evaluate after `step` where they are due; raise `Interrupted` if the user asked to stop.

    A checkpoint is saved before the evaluation, so that the training is kept if that fails, and gets its metrics
    afterwards, by which the best one is chosen. A run that ends in between is resumed with the evaluation.

    Args:
        experiment: with the evaluations.
        context: saves.
        step: that is done.
        steps: of the stage.
        state: what the stage resumes from, beside the step; or a function that finds it, called where it is saved.
    """
    if evaluation_due(experiment, step, steps):
        done, files = _found(step, state)
        context.checkpoint(step, {**done, DUE: True}, files=files)
        context.check_stop()
        _evaluate(experiment, context, step, done)
    elif context.checkpoint_due(step, steps):
        done, files = _found(step, state)
        context.checkpoint(step, done, files=files)
    context.check_stop()


def _found(
    step: int, state: Mapping[str, Json] | Callable[[], StageState] | None
) -> tuple[dict[str, Json], Mapping[str, str]]:
    """The state with the step, and the files."""
    found = state() if callable(state) else StageState(state or {})
    return {"step": step, **found.values}, found.files


def evaluation_due(experiment: Experiment, step: int, steps: int) -> bool:
    """Whether the student is evaluated after `step` of `steps`."""
    return bool(experiment.evaluation.on) and experiment.evaluation.due(step, steps)


def _evaluate(experiment: Experiment, context: StageContext, step: int, state: Mapping[str, Json]) -> None:
    """Evaluate after a step, and add the metrics to its checkpoint."""
    reports = evaluate(experiment, context, step, experiment.evaluation.on)
    context.checkpoint(step, state, metrics=checkpoint_metrics(reports))
