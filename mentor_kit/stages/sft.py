"""SFT: maximum likelihood of demonstrations, on the assistant's own tokens (the masks of RL)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.chat.transcript import demonstration_tokens
from mentor_kit.core.component import TeacherSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import ChatError, DataError, UsageError
from mentor_kit.core.task import TRAIN, Problem
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluate import EvaluationPlan
from mentor_kit.stages.experiment import Experiment, Keep, demonstrate
from mentor_kit.stages.schedule import OptimizerOptions, learning_rate
from mentor_kit.stages.token_groups import token_group
from mentor_kit.stages.training_loop import begin, finish_step
from mentor_kit.stages.workload import Workload


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
    teacher: TeacherSpec | None = None
    """A teacher for this stage; the recipe's if left out."""
    keep: Keep = "right"
    """right: only demonstrations with a right answer; all: every one."""
    record: bool = True
    """Write demonstrations to the run folder; switch it off for very many throw-away ones."""
    broken: Literal["skip", "fail"] = "skip"
    """skip: demonstrations that cannot be imitated are named and left out; fail: one ends the run."""


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
        objective = experiment.build_objective(ObjectiveSpec(preset="sft"))
        state = context.resumed() or {}
        position = int(state.get("position", done * options.batch))
        stream = DemonstrationStream(experiment, context, options, position)
        for step in range(done + 1, options.steps + 1):
            started = time.perf_counter()
            groups = stream.take()
            loss = experiment.policy.forward_backward(groups, objective)
            update = experiment.policy.optimizer_step(learning_rate(options.optimizer, step, options.steps))
            seconds = time.perf_counter() - started
            context.emit(
                "step",
                step=step,
                steps=options.steps,
                loss=loss.loss,
                tokens=loss.tokens,
                demonstrations=len(groups),
                **({"left_out": stream.left_out} if stream.left_out else {}),
                gradient_norm=update.gradient_norm,
                clipped_gradient=update.clipped,
                learning_rate=update.learning_rate,
                tokens_per_second=loss.tokens / seconds,
                seconds=seconds,
            )
            finish_step(experiment, context, step, options.steps, {"position": stream.position})


class DemonstrationStream:
    """Takes demonstrated problems one after the other, and starts again at the first at the pool's end.

    Problems that have nothing to imitate are passed over. `position` counts every problem passed, and is all there is
    to save for resuming.

    Args:
        experiment: with the task and the teacher.
        context: where demonstrations are written.
        options: the stage's.
        position: where to go on.
    """

    def __init__(self, experiment: Experiment, context: StageContext, options: SFTOptions, position: int) -> None:
        self.position = position
        self.left_out = 0
        """How many demonstrations the last batch left out."""
        self._experiment = experiment
        self._context = context
        self._options = options
        self._teacher = experiment.teacher_of(options.teacher)
        pool = options.problems or options.steps * options.batch
        self._problems = experiment.problems(options.split, experiment.seed, pool)
        self._empty: set[str] = set()
        self._named: set[tuple[str, str]] = set()
        if not self._problems:
            raise UsageError(f"the task has no problems in its split {options.split!r}")
        if position == 0 and (unasked := self._teacher.unasked(self._problems)):
            context.emit("note", text=f"never imitated: {unasked}; more problems of the split: a larger `problems`")

    def take(self) -> list[TokenGroup]:
        """The demonstrations of the next problems that have any, `batch` of them.

        Raises:
            DataError: no problem of the pool has one, or one cannot be imitated and `broken` is fail.
        """
        groups: list[TokenGroup] = []
        found = missed = self.left_out = 0
        while found < self._options.batch:
            # as many as a batch at once, even for its last problem: asking one by one takes long where few have any
            places = range(self.position, self.position + self._options.batch)
            batch = [self._problems[place % len(self._problems)] for place in places]
            shown = self._groups(batch)
            for problem in batch:
                self.position += 1
                kept, broken = shown[problem.id]
                self.left_out += broken
                groups += kept
                found += bool(kept)
                missed = 0 if kept else missed + 1
                if missed >= len(self._problems):
                    raise self._nothing()
                if found == self._options.batch:
                    break
        return groups

    def _groups(self, problems: Sequence[Problem]) -> dict[str, tuple[list[TokenGroup], int]]:
        """Each problem's demonstrations to imitate, and how many more it has that cannot be."""
        options = self._options
        wanted = {problem.id: problem for problem in problems if problem.id not in self._empty}
        shown = demonstrate(
            self._experiment,
            self._context,
            list(wanted.values()),
            teacher=self._teacher,
            keep=options.keep,
            record=options.record,
        )
        found: dict[str, tuple[list[TokenGroup], int]] = {problem.id: ([], 0) for problem in problems}
        for one in shown:
            groups, broken = found[one.problem_id]
            try:
                groups.append(demonstration_group(self._experiment, wanted[one.problem_id], one))
            except DataError as error:
                if options.broken == "fail":
                    raise
                found[one.problem_id] = groups, broken + 1
                self._name(one, error)
        self._empty |= {problem_id for problem_id in wanted if found[problem_id] == ([], 0)}
        return found

    def _name(self, demonstration: Demonstration, error: DataError) -> None:
        key = demonstration.problem_id, error.message
        if key not in self._named:
            self._named.add(key)
            self._context.emit("note", text=f"left out: {error.message}")

    def _nothing(self) -> DataError:
        count, broken = len(self._problems), f"; {len(self._named)} cannot be imitated" if self._named else ""
        return DataError(
            f"teacher {self._teacher.name!r} gave no demonstration to imitate for any of {count} problems{broken}",
            hint="more problems of the split are looked at with a larger `problems`; wrong ones are imitated, too, "
            "with `keep: all`",
        )


def demonstration_group(experiment: Experiment, problem: Problem, demonstration: Demonstration) -> TokenGroup:
    """A demonstration as a group of one.

    Raises:
        DataError: it cannot be imitated; names it, and says why.
    """
    tools = experiment.toolbox.tools(problem)
    shown = demonstration.trajectory
    fault = demonstration.fault(tools)
    if shown is None or fault is not None:
        raise _not_imitated(demonstration, fault or "")
    try:
        trace = demonstration_tokens(experiment.format, shown.messages, tools, opening=shown.opening)
    except (ChatError, DataError) as error:
        raise _not_imitated(demonstration, error.message) from error
    length, context = len(trace.prompt_ids) + len(trace.ids), experiment.policy.info.context
    if length > context:
        raise _not_imitated(demonstration, f"it has {length} tokens, and the student's context is {context}")
    return token_group([trace], [1.0], trained=[True])


def _not_imitated(demonstration: Demonstration, fault: str) -> DataError:
    return DataError(
        f"{demonstration.label} cannot be imitated: {fault}",
        hint="take it out of the demonstrations, or let the stage leave such ones out: `broken: skip`",
    )
