"""Demonstrations for a stage's problems: recorded ones, and the teacher's for the problems that have none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.rollout import run_async
from mentor_kit.stages.context import ProblemRecorder
from mentor_kit.stages.experiment import Experiment

#: Which demonstrations a stage uses: those with a right answer, or all.
Keep = Literal["right", "all"]


def demonstrate(
    experiment: Experiment,
    context: ProblemRecorder,
    problems: Sequence[Problem],
    *,
    teacher: Teacher | None = None,
    keep: Keep = "right",
    record: bool = True,
) -> list[Demonstration]:
    """Demonstrations for the problems, in their order: recorded ones, and the teacher's for problems without any.

    New ones are written to the run folder and added to the experiment. Without `record` neither is done, and recorded
    ones are not used. A problem for which an earlier stage recorded only wrong ones is not asked for again.

    Args:
        experiment: with the demonstrations so far.
        context: where new ones are written.
        problems: any number of the task's problems.
        teacher: the teacher to ask; the recipe's if left out.
        keep: which to return; wrong ones are recorded only with `all`.
        record: whether to use and record demonstrations of this run.

    Raises:
        UsageError: there is no teacher.
    """
    teacher = teacher or experiment.teacher_of(None)
    if not record:
        return _ask(teacher, problems, keep)
    missing = {problem.id: problem for problem in problems if not experiment.demonstrations.of(problem)}
    if missing:
        fresh = _ask(teacher, list(missing.values()), keep)
        context.write_demonstrations(fresh)
        for demonstration in fresh:
            experiment.demonstrations.add(demonstration)
    found = (demonstration for problem in problems for demonstration in experiment.demonstrations.of(problem))
    return [demonstration for demonstration in found if keep == "all" or demonstration.correct]


def _ask(teacher: Teacher, problems: Sequence[Problem], keep: Keep) -> list[Demonstration]:
    """The teacher's demonstrations that are kept, in the order of the problems, whatever order it answers in."""

    async def gather() -> list[Demonstration]:
        return [found async for found in teacher.demonstrate(problems) if keep == "all" or found.correct]

    order = {problem.id: index for index, problem in enumerate(problems)}
    about = [found.about(problems[order[found.problem_id]]) for found in run_async(gather())]
    return sorted(about, key=lambda demonstration: order[demonstration.problem_id])
