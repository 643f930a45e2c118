"""The stream of training problems: endless, in the task's order; with a teacher, those it has solved."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.errors import DataError
from mentor_kit.core.task import TRAIN, Problem
from mentor_kit.stages.context import ProblemRecorder
from mentor_kit.stages.demonstrations import demonstrate
from mentor_kit.stages.experiment import Experiment

#: Problems in a row without a right demonstration after which the stream fails.
MAX_UNSOLVED = 1000
#: Fewest and most problems asked of the task at once: a task makes all of them anew each time.
FEWEST, MOST = 256, 4096


class ProblemStream:
    """Takes training problems one after the other, and starts again at the first when the task has no more.

    `position` counts every problem that was passed, taken or not, and is all that resuming needs.

    Args:
        experiment: with the task and the teacher.
        context: where problems and demonstrations are written.
        position: the number of problems to skip.
        expected: about how many problems will be taken.
        demonstrated: whether to take only problems that the teacher, if there is one, has solved; else it is not asked.
    """

    def __init__(
        self,
        experiment: Experiment,
        context: ProblemRecorder,
        *,
        position: int = 0,
        expected: int = 0,
        demonstrated: bool = True,
    ) -> None:
        self.position = position
        self._expected = min(max(FEWEST, expected), MOST)
        self._asks = demonstrated and experiment.teacher is not None
        self._experiment = experiment
        self._context = context
        self._known: list[Problem] = []
        self._complete = False

    def take(self, count: int) -> list[Problem]:
        """The next `count` problems, recorded; with a teacher, those it has a right demonstration for.

        Raises:
            DataError: there are no problems, or the teacher solves none of very many.
        """
        return [problem for _, problem in self.take_placed(count)]

    def take_placed(self, count: int) -> list[tuple[int, Problem]]:
        """As `take`, each problem with its position, by which `at` finds it again."""
        found: list[tuple[int, Problem]] = []
        missed = 0
        while len(found) < count:
            places = range(self.position, self.position + count - len(found))
            batch = [(place, self.at(place)) for place in places]
            self.position += len(batch)
            kept = self._demonstrated(batch)
            found += kept
            missed = 0 if kept else missed + len(batch)
            if missed > MAX_UNSOLVED:
                raise DataError(
                    f"the teacher solved none of {missed} problems in a row",
                    hint="look at the teacher's answers: `mentorkit collect RECIPE --set collect.keep=all`",
                )
        self._context.write_problems([problem for _, problem in found])
        return found

    def _demonstrated(self, placed: Sequence[tuple[int, Problem]]) -> list[tuple[int, Problem]]:
        if not self._asks:
            return list(placed)
        problems = [problem for _, problem in placed]
        solved = {found.problem_id for found in demonstrate(self._experiment, self._context, problems)}
        return [(place, problem) for place, problem in placed if problem.id in solved]

    def at(self, position: int) -> Problem:
        """The problem at a position; the first one again behind the last.

        Raises:
            DataError: there are no problems.
        """
        if position >= len(self._known) and not self._complete:
            wanted = max(self._expected, 2 * (position + 1))
            self._known = self._experiment.problems(TRAIN, self._experiment.seed, wanted)
            self._complete = len(self._known) < wanted
        if not self._known:
            raise DataError("the task has no training problems")
        return self._known[position % len(self._known)]
