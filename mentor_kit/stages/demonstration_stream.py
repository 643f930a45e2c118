"""The stream of demonstrations that SFT trains on: endless, in the order of the task's problems."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.chat.transcript import demonstration_tokens
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import ChatError, DataError, UsageError
from mentor_kit.core.task import Problem
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.demonstrations import demonstrate
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.sft_options import SFTOptions
from mentor_kit.stages.token_groups import token_group


class DemonstrationStream:
    """Takes demonstrated problems one after the other, and starts again at the first at the pool's end.

    Problems without a demonstration to train on are skipped. `position` counts every problem that was passed, taken or
    not, and is all that resuming needs.

    Args:
        experiment: with the task and the teacher.
        context: where demonstrations are written.
        options: the stage's.
        position: the number of problems to skip.

    Raises:
        UsageError: there is no teacher, or the task has no such split or no problems in it.
    """

    def __init__(self, experiment: Experiment, context: StageContext, options: SFTOptions, position: int) -> None:
        self.position = position
        self.left_out = 0
        """Demonstrations of the last batch that could not be trained on."""
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
        """The demonstrations of the next `batch` problems that have any.

        Raises:
            DataError: no problem of the pool has one, or one cannot be trained on and `broken` is fail.
        """
        groups: list[TokenGroup] = []
        found = missed = self.left_out = 0
        while found < self._options.batch:
            # a whole batch each time, even for its last problem: one by one takes long where few have any
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
                    raise self._no_demonstrations()
                if found == self._options.batch:
                    break
        return groups

    def _groups(self, problems: Sequence[Problem]) -> dict[str, tuple[list[TokenGroup], int]]:
        """Each problem's demonstrations to train on, and how many more it has that cannot be."""
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
                self._note(one, error)
        self._empty |= {problem_id for problem_id in wanted if found[problem_id] == ([], 0)}
        return found

    def _note(self, demonstration: Demonstration, error: DataError) -> None:
        key = demonstration.problem_id, error.message
        if key not in self._named:
            self._named.add(key)
            self._context.emit("note", text=f"left out: {error.message}")

    def _no_demonstrations(self) -> DataError:
        count, broken = len(self._problems), f"; {len(self._named)} cannot be trained on" if self._named else ""
        return DataError(
            f"the teacher {self._teacher.name!r} has no demonstration for any of {count} problems{broken}",
            hint="take more problems with a larger `problems`, or wrong demonstrations as well with `keep: all`",
        )


def demonstration_group(experiment: Experiment, problem: Problem, demonstration: Demonstration) -> TokenGroup:
    """A demonstration as a group of one.

    Raises:
        DataError: it cannot be trained on; the message names it and the reason.
    """
    tools = experiment.toolbox.tools(problem)
    shown = demonstration.trajectory
    fault = demonstration.fault(tools)
    if shown is None or fault is not None:
        raise _unusable(demonstration, fault or "")
    try:
        trace = demonstration_tokens(experiment.format, shown.messages, tools, opening=shown.opening)
    except (ChatError, DataError) as error:
        raise _unusable(demonstration, error.message) from error
    length, context = len(trace.prompt_ids) + len(trace.ids), experiment.policy.info.context
    if length > context:
        raise _unusable(demonstration, f"it has {length} tokens, and the student's context is {context}")
    return token_group([trace], [1.0], trained=[True])


def _unusable(demonstration: Demonstration, fault: str) -> DataError:
    return DataError(
        f"{demonstration.label} cannot be trained on: {fault}",
        hint="remove it, or let the stage leave such demonstrations out with `broken: skip`",
    )
