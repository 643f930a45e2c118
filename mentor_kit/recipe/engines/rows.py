"""The rows that an engine is given: problems to train on in the order of the steps, and those of evaluations."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.task import Problem
from mentor_kit.stages.context import ProblemRecorder
from mentor_kit.stages.demonstrations import demonstrate
from mentor_kit.stages.evaluation_plan import SplitPlan, plan_names
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.grpo_options import GRPOOptions
from mentor_kit.stages.problem_stream import ProblemStream


class EpisodeRow(FrozenModel):
    """A problem with the teacher's right demonstrations, and how its episodes are decoded: one row of an engine's data.

    Its JSON is what an engine's files hold, as a string: columns of records are padded to one another's keys.
    """

    problem: Problem
    demonstrations: tuple[Demonstration, ...] = ()
    evaluation: str = ""
    """The name of the evaluation (`plan_names`); empty for a row that is trained on."""
    greedy: bool = False
    """Whether its episode is decoded greedily."""
    place: int = 0
    """Its place among all rows of the run."""
    first: int = 0
    """The index of its first episode among those of its problem in the step, or in the evaluation."""


def collect_rows(experiment: Experiment, options: GRPOOptions) -> Iterator[EpisodeRow]:
    """Yield the rows of a run, those to train on first: the problems that the stage `grpo` would take, step by step.

    The teacher demonstrates the problems where the recipe has one. With `resample` each step has as many problems more
    as may have to replace those of its zero-variance groups.

    Args:
        experiment: the recipe's components, without a student.
        options: of the stage.

    Raises:
        DataError: there are no problems, or the teacher solves none of very many.
    """
    count = options.problems * (1 + options.resample)
    expected = options.steps * count
    stream = ProblemStream(
        experiment,
        _Unlogged(),
        expected=expected,
        demonstrated=options.objective.needs_reward,
    )
    places = itertools.count()
    for _ in range(options.steps):
        taken: Counter[str] = Counter()
        for problem in stream.take(count):
            shown = tuple(experiment.demonstrations.right(problem.id))
            first = options.group * taken[problem.id]
            yield EpisodeRow(problem=problem, demonstrations=shown, place=next(places), first=first)
            taken[problem.id] += 1
    plans = experiment.evaluation.on
    for plan, name in zip(plans, plan_names(plans), strict=True):
        if isinstance(plan, SplitPlan):
            for row in _evaluation_rows(experiment, plan, name):
                yield row.model_copy(update={"place": next(places)})


def _evaluation_rows(experiment: Experiment, plan: SplitPlan, name: str) -> Iterator[EpisodeRow]:
    """A greedy episode of every problem, then the sampled ones, a row each."""
    problems = experiment.evaluation_problems(plan.split, plan.problems)
    if experiment.teacher is not None:
        demonstrate(experiment, _Unlogged(), problems)
    rows = [
        EpisodeRow(problem=problem, demonstrations=tuple(experiment.demonstrations.right(problem.id)), evaluation=name)
        for problem in problems
    ]
    yield from (row.model_copy(update={"greedy": True}) for row in rows)
    for sample in range(plan.samples):
        yield from (row.model_copy(update={"first": sample}) for row in rows)


class _Unlogged(ProblemRecorder):
    """The log of an export, which has no run folder: the rows have the problems and their demonstrations."""

    def write_problems(self, problems: Sequence[Problem]) -> None: ...

    def write_demonstrations(self, demonstrations: Sequence[Demonstration]) -> None: ...
