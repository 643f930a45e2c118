"""The problems of recorded episodes: the task's, or, where it has them no more, what the record says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mentor_kit.core.task import TRAIN, DeclaredTool, Problem, Task
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.runs import Run
from mentor_kit.runs.problems import RecordedProblem
from mentor_kit.stages.experiment import PROBLEM_SEED

#: Fewest problems of a split that are asked of the task; it is asked for twice as many each time.
FEWEST = 256
#: As many problems of a split for each that is looked for, at least `ENOUGH`, are asked of the task, and no more: a
#: task that makes problems has any number of them.
EACH, ENOUGH = 8, 4096


class Problems:
    """Finds the problems of trajectories.

    Args:
        loaded: the run's recipe.
        task: the recipe's; None where it cannot be built on this machine.
        run: the run; None for episodes of no known one.
    """

    def __init__(self, loaded: LoadedRecipe, task: Task | None, run: Run | None) -> None:
        self._recipe = loaded.recipe
        self._recorded = {} if run is None else run.problems()
        self._task = task
        self._known: dict[str, dict[str, Problem]] = {}
        """Of each split, the problems that the task was asked for."""
        self._wanted: dict[str, set[str]] = {}
        """Of each split, the ids that were looked for."""
        self._asked: dict[str, int] = {}
        """Of each split, how many problems the task was asked for."""
        self._complete: set[str] = set()
        self.changed: set[str] = set()
        """Ids of problems with another question than their episodes have."""
        self.missing: set[str] = set()
        """Ids of problems that the task does not have."""

    def of(self, trajectories: Sequence[Trajectory], split: str = "") -> dict[int, Problem]:
        """The problem of each trajectory, by the trajectory's `id()`.

        Args:
            trajectories: of one step or evaluation.
            split: the evaluation split that the problems are of; training problems if left out.
        """
        known = self._problems(split or TRAIN, {item.problem_id for item in trajectories})
        return {id(item): self._problem(item, known.get(item.problem_id)) for item in trajectories}

    def _problem(self, trajectory: Trajectory, known: Problem | None) -> Problem:
        if known is not None:
            if not trajectory.opening or _question(trajectory) == known.question:
                return known
            self.changed.add(known.id)
        elif self._task is not None:
            self.missing.add(trajectory.problem_id)
        return problem_of_record(trajectory, self._recorded.get(trajectory.problem_id))

    def _problems(self, split: str, wanted: Iterable[str]) -> dict[str, Problem]:
        """The problems of a split by id, with those that are wanted, as far as the task has them."""
        known = self._known.setdefault(split, {})
        if self._task is None or split not in self._task.splits:
            return known
        looked_for = self._wanted.setdefault(split, set())
        looked_for.update(wanted)
        asked = self._asked.get(split, 0)
        most = max(ENOUGH, EACH * len(looked_for))
        while not looked_for <= known.keys() and split not in self._complete and 2 * asked <= most:
            asked = self._asked[split] = max(FEWEST, 2 * asked)
            found = self._task.problems(split, self._recipe.seed if split == TRAIN else PROBLEM_SEED, asked)
            known |= {problem.id: self._with_system(problem) for problem in found}
            if len(found) < asked:
                self._complete.add(split)
        return known

    def _with_system(self, problem: Problem) -> Problem:
        """The problem with the recipe's system message where it has none, as the experiment has it."""
        system = self._recipe.rollout.system or ""
        return problem if problem.system or not system else problem.model_copy(update={"system": system})


def problem_of_record(trajectory: Trajectory, recorded: RecordedProblem | None) -> Problem:
    """Return a problem as the run has it: its record, or, where there is none, the question of the dialogue alone."""
    if recorded is None:
        return Problem(id=trajectory.problem_id, question=_question(trajectory), answer="")
    return Problem(
        id=recorded.id,
        question=recorded.question,
        answer=recorded.key or "",
        split=recorded.split or TRAIN,
        group=recorded.group,
        system=recorded.system,
        tools=tuple(DeclaredTool.model_validate(tool["function"]) for tool in recorded.tools),
    )


def _question(trajectory: Trajectory) -> str:
    """The last message that the problem opened with; of a dialogue from elsewhere, the first of the user."""
    if trajectory.opening:
        return trajectory.messages[trajectory.opening - 1].content
    return next((message.content for message in trajectory.messages if message.role == "user"), "")
