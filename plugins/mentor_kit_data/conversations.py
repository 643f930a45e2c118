"""The task `conversations`: public tool-use data, whose rows are dialogues.

    system, history, last user's turn   the problem; its tools are the row's
    what follows                        a recorded demonstration, which the teacher `recorded` gives
    the first turn's calls, or the key  the right answer

With `check: calls` the calls are the answer and are not run: an episode ends with the student's first turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.errors import MissingError
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.runs.rows import DataRow
from mentor_kit_data.call_check import same_calls
from mentor_kit_data.checkers import checker
from mentor_kit_data.checking import TextChecker
from mentor_kit_data.conversation_options import ConversationsOptions
from mentor_kit_data.conversation_problems import ROW, DialogueProblems, calls_as_answer, known_formats, with_format
from mentor_kit_data.hub import rows_of_data_set
from mentor_kit_data.keys import KeyRule
from mentor_kit_data.rows_task import RowsTask, problems_of_splits, rows_of_splits

_CALLS: TypeAdapter[list[ToolCall]] = TypeAdapter(list[ToolCall])


def build(options: ConversationsOptions, context: BuildContext) -> ConversationsTask:
    """The task; rows are read now, so that their faults show before a model is loaded.

    Raises:
        DataError: rows cannot be read, their format is unknown, or a row is broken and `broken` is `fail`.
        MissingError: a package is not installed.
    """
    sources = _sources(options, context.recipe_folder)
    formats = known_formats(options.format, context)
    make = DialogueProblems(options)
    problems = problems_of_splits(
        {split: with_format(rows, formats, options.format) for split, rows in sources.items()},
        make,
        options,
        None if options.check.use == "calls" else KeyRule(options, "answer"),
    )
    return ConversationsTask(problems, make.recorded, options)


def _sources(options: ConversationsOptions, folder: Path) -> Mapping[str, Iterable[DataRow]]:
    if options.files:
        return rows_of_splits(options.files, folder)
    from mentor_kit.hooks.references import missing_package

    if reason := missing_package("datasets", "hub-data"):
        message, _, hint = reason.partition("\n")
        raise MissingError(f"the data set {options.dataset!r} cannot be loaded: {message}", hint=hint)
    return rows_of_data_set(options, folder)


class ConversationsTask(RowsTask):
    """The task `conversations`.

    Args:
        problems: by split.
        recorded: what follows the problems, by the row in their `extra`.
        options: of the task.
    """

    def __init__(
        self,
        problems: Mapping[str, Sequence[Problem]],
        recorded: Sequence[tuple[Message, ...]],
        options: ConversationsOptions,
    ) -> None:
        self.calls_are_answers = options.check.use == "calls"
        # calls are compared here
        check = TextChecker() if self.calls_are_answers else checker(options.check)
        super().__init__(problems, check, whole_text=options.answer == "text")
        self._recorded = recorded

    def is_over(self, problem: Problem, dialogue: Sequence[Message]) -> bool:
        return self.calls_are_answers

    def answer(self, trajectory: Trajectory) -> str | None:
        if not self.calls_are_answers:
            return super().answer(trajectory)
        first = next(iter(trajectory.turns), None)
        # a call that cannot be read is an attempt, and not the answer that nothing is to be called
        if first is None or any(call.state is CallState.MALFORMED or not call.name for call in first.tool_calls):
            return None
        return calls_as_answer(first.tool_calls)

    def check(self, answer: str, problem: Problem) -> bool:
        if not self.calls_are_answers:
            return super().check(answer, problem)
        try:
            found = _CALLS.validate_json(answer)
        except ValidationError:
            return False
        return same_calls(found, _CALLS.validate_json(problem.answer), {t.name: t.parameters for t in problem.tools})

    def recorded(self, problem: Problem) -> Sequence[Trajectory]:
        rest = self._rest(problem)
        if not any(message.role == "assistant" for message in rest):
            return ()
        opening = problem.opening()
        answered = rest[-1].role == "assistant" and (self.calls_are_answers or not rest[-1].tool_calls)
        return (
            Trajectory(
                id=f"{problem.id}/recorded",
                problem_id=problem.id,
                agent="recorded",
                messages=(*opening, *rest),
                opening=len(opening),
                ending=Ending.ANSWERED if answered else Ending.MAX_TURNS,
            ),
        )

    @property
    def has_solutions(self) -> bool:
        """Always: what follows a problem in its row."""
        return True

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        """The next turn of the recorded solution, so that the teacher `scripted` plays its calls with real tools."""
        turns = [message for message in self._rest(problem) if message.role == "assistant"]
        made = sum(message.role == "assistant" for message in dialogue[len(problem.opening()) :])
        if made >= len(turns):
            return assistant()
        turn = turns[made]
        return assistant(turn.content, reasoning=turn.reasoning, calls=[_plain(call) for call in turn.tool_calls])

    def _rest(self, problem: Problem) -> tuple[Message, ...]:
        row: Any = problem.extra.get(ROW)
        return self._recorded[row] if isinstance(row, int) and 0 <= row < len(self._recorded) else ()


def _plain(call: ToolCall) -> ToolCall:
    return ToolCall(name=call.name, arguments=call.arguments)
