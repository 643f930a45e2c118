"""Collect: the teacher demonstrates problems, and what is right is kept."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from mentor_kit.demonstration import Accounts
from mentor_kit.slot import TeacherSlot
from mentor_kit.stage import StageContext
from mentor_kit.stages.evaluate import EvaluationPlan
from mentor_kit.stages.experiment import Experiment, Keep, demonstrate
from mentor_kit.stages.workload import Workload
from mentor_kit.task import TRAIN


class CollectOptions(BaseModel):
    """Ask the teacher ahead of training, so that later stages find its demonstrations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problems: int = Field(default=100, gt=0)
    """How many problems of the split."""
    split: str = TRAIN
    """A split of the task."""
    keep: Keep = "right"
    """right: only demonstrations with a right answer; all: every one."""
    batch: int = Field(default=64, gt=0)
    """Problems asked at once; what a batch gave is safe before the next one starts."""
    teacher: TeacherSlot | None = None
    """A teacher for this stage; the recipe's if left out."""


@dataclass(frozen=True)
class CollectStage:
    """The stage `collect`."""

    options: CollectOptions

    def workload(self, evaluation: EvaluationPlan) -> Workload:
        """The teacher works; the student is not asked."""
        return Workload(steps=1, problems=self.options.problems, student=False, trains=False, scores=False)

    def check(self, experiment: Experiment) -> None:
        """Refuse a recipe without a teacher, and a split that the task does not have, before anything is made."""
        experiment.teacher_of(self.options.teacher)
        experiment.problems(self.options.split, experiment.seed, 1)

    def run(self, experiment: Experiment, context: StageContext) -> None:
        options = self.options
        teacher = experiment.teacher_of(options.teacher)
        problems = experiment.problems(options.split, experiment.seed, options.problems)
        kept = 0
        for start in range(0, len(problems), options.batch):
            batch = problems[start : start + options.batch]
            kept += len(demonstrate(experiment, context, batch, teacher=teacher, keep=options.keep))
            context.progress(start + len(batch), len(problems), kept=kept)
            context.check_stop()
        took = teacher.account() if isinstance(teacher, Accounts) else {}
        context.emit(
            "collected", **{"problems": len(problems), "demonstrations": kept, "teacher": teacher.name, **took}
        )
