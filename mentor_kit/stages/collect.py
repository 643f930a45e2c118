"""Collect: the teacher demonstrates problems ahead of training, and right demonstrations are recorded.

problems ──teacher──> demonstrations ──verdicts──> those that are kept
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ConfigDict, Field

from mentor_kit.core.component import TeacherSpec
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.task import TRAIN, Problem
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.demonstrations import Keep, demonstrate
from mentor_kit.stages.evaluation_plan import EvaluationPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.stage import Stage
from mentor_kit.stages.workload import SplitUse, Workload, teacher_uses

#: How many demonstrations that SFT cannot train on are named; the rest are counted.
_NAMED = 5


class CollectOptions(OptionModel):
    """Ask the teacher ahead of training, so that later stages find its demonstrations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int = Field(default=100, gt=0)
    """How many problems of the split."""
    split: str = TRAIN
    """A split of the task."""
    keep: Keep = "right"
    """right: only demonstrations with a right answer; all: wrong ones as well."""
    batch: int = Field(default=64, gt=0)
    """Problems asked at once; the demonstrations of a batch are recorded before the next one starts."""
    teacher: TeacherSpec | None = None
    """A teacher for this stage; the recipe's if left out."""


@dataclass(frozen=True)
class CollectStage(Stage):
    """The stage `collect`."""

    options: CollectOptions

    def run(self, experiment: Experiment, context: StageContext) -> None:
        options = self.options
        teacher = experiment.teacher_of(options.teacher)
        problems = experiment.problems(options.split, experiment.seed, options.problems)
        kept = unusable = 0
        for start in range(0, len(problems), options.batch):
            batch = problems[start : start + options.batch]
            shown = demonstrate(experiment, context, batch, teacher=teacher, keep=options.keep)
            kept += len(shown)
            for fault in _faults(experiment, batch, shown):
                unusable += 1
                if unusable <= _NAMED:
                    context.emit("note", text=fault)
            context.progress(start + len(batch), len(problems), kept=kept)
            context.check_stop()
        account = teacher.account()
        counts = {"demonstrations": kept, **({"not_for_sft": unusable} if unusable else {})}
        context.emit("collected", **{"problems": len(problems), **counts, "teacher": teacher.name, **account})

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The teacher's demonstrations; the student is not used."""
        return Workload(
            steps=1,
            problems=self.options.problems,
            student=False,
            trains=False,
            evaluates=False,
            demonstrations=self.options.teacher is None,
            own_teachers=teacher_uses(self.options.teacher),
            splits=(SplitUse(split=self.options.split, option=("split",)),),
        )

    def check(self, experiment: Experiment) -> None:
        """Check that there is a teacher, and that the task has the split."""
        experiment.teacher_of(self.options.teacher)
        experiment.problems(self.options.split, experiment.seed, 1)


def _faults(experiment: Experiment, problems: list[Problem], shown: list[Demonstration]) -> Iterator[str]:
    """Why SFT will leave out demonstrations, as far as that is known without a student."""
    tools = {problem.id: experiment.toolbox.tools(problem) for problem in problems if shown}
    for demonstration in shown:
        fault = demonstration.fault(tools[demonstration.problem_id])
        if fault is not None:
            yield f"SFT cannot use {demonstration.label}: {fault}"
