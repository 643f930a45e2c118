"""SFT: maximum likelihood of demonstrations, on the assistant's own tokens (the masks of RL)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from mentor_kit.chat.transcript import demonstration_tokens
from mentor_kit.demonstration import Demonstration
from mentor_kit.errors import DataError, UsageError
from mentor_kit.objective import Objective
from mentor_kit.policy import TokenGroup
from mentor_kit.slot import TeacherSlot
from mentor_kit.stage import StageContext
from mentor_kit.stages.evaluate import EvaluationPlan
from mentor_kit.stages.experiment import Experiment, Keep, demonstrate
from mentor_kit.stages.schedule import OptimizerOptions, learning_rate
from mentor_kit.stages.steps import begin, finish_step
from mentor_kit.stages.tokens import token_group
from mentor_kit.stages.workload import Workload
from mentor_kit.task import TRAIN, Problem


class SFTOptions(BaseModel):
    """Imitate the teacher."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    """Updates."""
    batch: int = Field(default=16, gt=0)
    """Problems whose demonstrations make one update."""
    problems: int | None = Field(default=None, gt=0)
    """Size of the pool of problems that is gone through again and again; None for fresh problems at every step."""
    split: str = TRAIN
    """The task's split that problems are taken from."""
    optimizer: OptimizerOptions
    """The optimizer and its learning rate."""
    teacher: TeacherSlot | None = None
    """A teacher for this stage; the recipe's if left out."""
    keep: Keep = "right"
    """right: only demonstrations with a right answer; all: every one."""
    record: bool = True
    """Write demonstrations to the run folder; switch it off for very many throw-away ones."""


@dataclass(frozen=True)
class SFTStage:
    """The stage `sft`."""

    options: SFTOptions

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """A batch of demonstrations is learned at every step; the student plays in evaluations alone."""
        return Workload(
            steps=self.options.steps,
            problems=self.options.batch,
            sequences=evaluation.sequences,
            scores=False,
            optimizer=self.options.optimizer.spec,
            adjustable=("steps",),
        )

    def run(self, experiment: Experiment, context: StageContext) -> None:
        options = self.options
        done = begin(experiment, context, options.optimizer.spec)
        batches = self._batches(experiment, context, done)
        for step in range(done + 1, options.steps + 1):
            started = time.perf_counter()
            demonstrations = next(batches)
            groups = [demonstration_group(experiment, *pair) for pair in demonstrations]
            loss = experiment.policy.forward_backward(groups, Objective(preset="sft"))
            update = experiment.policy.optimizer_step(learning_rate(options.optimizer, step, options.steps))
            seconds = time.perf_counter() - started
            context.emit(
                "step",
                step=step,
                steps=options.steps,
                loss=loss.loss,
                tokens=loss.tokens,
                demonstrations=len(groups),
                gradient_norm=update.gradient_norm,
                clipped_gradient=update.clipped,
                learning_rate=update.learning_rate,
                tokens_per_second=loss.tokens / seconds,
                seconds=seconds,
            )
            finish_step(experiment, context, step, options.steps)

    def _batches(
        self, experiment: Experiment, context: StageContext, done: int
    ) -> Iterator[list[tuple[Problem, Demonstration]]]:
        """Each step's demonstrations with their problems, beginning after step `done`."""
        options = self.options
        teacher = experiment.teacher_of(options.teacher)
        pool = options.problems or options.steps * options.batch
        problems = experiment.problems(options.split, experiment.seed, pool)
        if not problems:
            raise UsageError(f"the task has no problems in its split {options.split!r}")
        for step in range(done, options.steps):
            places = range(step * options.batch, (step + 1) * options.batch)
            batch = [problems[place % len(problems)] for place in places]
            shown = demonstrate(experiment, context, batch, teacher=teacher, keep=options.keep, record=options.record)
            if not shown:
                raise DataError(
                    f"teacher {teacher.name!r} gave no demonstration that could be kept for step {step + 1}",
                    hint="look at demonstrations.jsonl, or set `keep: all`",
                )
            by_id = {problem.id: problem for problem in batch}
            yield [(by_id[demonstration.problem_id], demonstration) for demonstration in shown]


def demonstration_group(experiment: Experiment, problem: Problem, demonstration: Demonstration) -> TokenGroup:
    """A demonstration as a group of one.

    Raises:
        DataError: the demonstration has no dialogue, only tool names.
    """
    if demonstration.trajectory is None:
        raise DataError(
            f"the demonstration of problem {problem.id!r} by {demonstration.teacher!r} has no dialogue to imitate",
            hint="SFT needs whole trajectories: collect them with a teacher",
        )
    tools = experiment.toolbox.tools(problem)
    shown = demonstration.trajectory
    trace = demonstration_tokens(experiment.format, shown.messages, tools, opening=shown.opening)
    return token_group([trace], [1.0], trained=[True])
