"""Evaluation: an agent runs episodes on the problems of a split, one greedy and some sampled, and is reported on.

    problems of a split ──agent──> greedy and sampled episodes ──verdicts, rewards──> report, rows

The same evaluations are made during training (`mentor_kit.stages.training_loop`) and by the stage `evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ConfigDict

from mentor_kit.core.component import ComponentSpec, EvaluationSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.option_model import OptionModel
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.demonstrations import demonstrate
from mentor_kit.stages.evaluation import EvaluationResult, evaluation_of
from mentor_kit.stages.evaluation_episodes import collect_episodes, count_episodes
from mentor_kit.stages.evaluation_plan import (
    DEFAULT_SPLITS,
    EvaluationPlan,
    SplitPlan,
    UniqueNames,
    file_name,
    plan_names,
    sequences_at_once,
)
from mentor_kit.stages.evaluation_progress import EvaluationProgress
from mentor_kit.stages.evaluation_report import split_result
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.stage import Stage
from mentor_kit.stages.workload import SplitUse, Workload, teacher_uses


class EvaluateOptions(OptionModel):
    """Evaluate the student as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: tuple[SplitPlan | EvaluationSpec, ...] = ()
    """As the recipe's `evaluate.on`; those of the recipe's `evaluate`, or else both evaluation splits, if left out."""


@dataclass(frozen=True)
class EvaluateStage(Stage):
    """The stage `evaluate`."""

    options: EvaluateOptions

    def run(self, experiment: Experiment, context: StageContext) -> None:
        if context.resumed() is not None:
            return
        evaluate(experiment.with_agent(), context, 0, self._on(experiment.evaluation))
        if not context.is_first:
            # the student of the stages before is kept; where nothing was trained, there is nothing to keep
            context.checkpoint(0, {"step": 0})

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The episodes of the student, or none where the recipe names another agent."""
        on, student = self._on(evaluation), evaluation.agent is None
        splits = [plan for plan in on if isinstance(plan, SplitPlan)]
        return Workload(
            steps=1,
            problems=sum(plan.problems for plan in splits),
            episodes=sum(plan.problems * (1 + plan.samples) for plan in splits) if student else 0,
            sequences=sequences_at_once(on) if student else 0,
            student=student,
            trains=False,
            evaluates=not self.options.on,
            own_teachers=teacher_uses(evaluation.agent),
            splits=self._splits(evaluation),
        )

    def check(self, experiment: Experiment) -> None:
        """Check that the agent and every evaluation work with the experiment."""
        check_evaluations(experiment.with_agent(), self._on(experiment.evaluation))

    def _on(self, evaluation: EvaluationPlan) -> Sequence[SplitPlan | ComponentSpec]:
        return self.options.on or evaluation.on or DEFAULT_SPLITS

    def _splits(self, evaluation: EvaluationPlan) -> tuple[SplitUse, ...]:
        own = [(place, plan) for place, plan in enumerate(self.options.on) if isinstance(plan, SplitPlan)]
        if self.options.on or evaluation.on:
            return tuple(SplitUse(split=plan.split, option=("on", place, "split")) for place, plan in own)
        return tuple(SplitUse(split=plan.split) for plan in DEFAULT_SPLITS)


def check_evaluations(experiment: Experiment, on: Sequence[SplitPlan | ComponentSpec]) -> None:
    """Check that the evaluations can be made; called before the run's first step.

    Raises:
        UsageError: the task has no such split.
        MentorKitError: a plugin's evaluation cannot be built, or cannot work with this experiment.
    """
    for plan in on:
        if isinstance(plan, SplitPlan):
            experiment.check_split(plan.split)
        else:
            evaluation_of(experiment, plan).check(experiment)


def evaluate(
    experiment: Experiment, context: StageContext, step: int, on: Sequence[SplitPlan | ComponentSpec]
) -> dict[str, dict[str, Json]]:
    """Make all evaluations and write them to the run folder; returns their reports by name."""
    reports: dict[str, dict[str, Json]] = {}
    planned = plan_names(on)
    names, files = UniqueNames(planned), UniqueNames()
    progress = EvaluationProgress(context, sum(count_episodes(experiment, plan) for plan in on))
    for plan, name in zip(on, planned, strict=True):
        if isinstance(plan, SplitPlan):
            result = evaluate_split(experiment, context, plan, progress)
        else:
            result = evaluation_of(experiment, plan).evaluate(experiment, context)
            name = names.add(str(result.report["split"]))
        reports[name] = write_result(experiment, context, step, name, files.add(file_name(name)), result)
    return reports


def write_result(
    experiment: Experiment, context: StageContext, step: int, name: str, file: str, result: EvaluationResult
) -> dict[str, Json]:
    """Write an evaluation to the run folder and emit its event; returns its whole report.

    Args:
        experiment: of the evaluated agent.
        context: of the stage.
        step: after which it was made.
        name: of the evaluation.
        file: the end of its files' names.
        result: of the evaluation.
    """
    agent = experiment.evaluated_agent.model_dump(exclude_none=True)
    report: dict[str, Json] = {"step": step, "stage": context.key, "plan": name, **result.report, "agent": agent}
    context.write_evaluation(f"{context.key}-{step:06d}-{file}", report, result.scored, result.rows)
    context.emit("evaluation", **{key: value for key, value in report.items() if key != "outcomes"})
    return report


def evaluate_split(
    experiment: Experiment, context: StageContext, plan: SplitPlan, progress: EvaluationProgress | None = None
) -> EvaluationResult:
    """Run a split's episodes and report on them; the teacher demonstrates its problems first, for comparison."""
    problems = experiment.evaluation_problems(plan.split, plan.problems)
    context.write_problems(problems)
    if experiment.teacher is not None:
        demonstrate(experiment, context, problems)
    progress = progress or EvaluationProgress(context, 0)
    episodes = collect_episodes(experiment, plan, problems, progress)
    return split_result(experiment, plan, problems, episodes)
