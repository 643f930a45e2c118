"""The task `conversations`: public tool-use data, whose rows are dialogues.

    system, history, last user's turn   the problem; its tools are the row's
    what follows                        a recorded demonstration, which the teacher `recorded` gives
    the first turn's calls, or the key  the right answer

With `check: calls` the calls are the answer and are not run: an episode ends with the student's first turn.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.data_format import LOOKED_AT, DataFormat, DataFormatError, Dialogue, format_of
from mentor_kit.core.errors import DataError, MissingError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import Problem, boxed_answer
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.recipe.shorthand import one_or_several
from mentor_kit.runs.dialogue_rows import joined_rows
from mentor_kit.runs.rows import BadRow, DataRow
from mentor_kit_data.call_check import same_calls
from mentor_kit_data.checkers import checker
from mentor_kit_data.checking import Check, TextChecker
from mentor_kit_data.hub import rows_of_data_set
from mentor_kit_data.keys import KeyRule
from mentor_kit_data.rows_task import BrokenRows, RowsTask, problems_of_splits, rows_of_splits

#: The key of a problem's row in its `extra`, for its recorded solution.
_ROW = "row"
_CALLS: TypeAdapter[list[ToolCall]] = TypeAdapter(list[ToolCall])


class ConversationCheck(Check):
    """How answers are compared.

    calls: the calls of the first turn are the answer, by BFCL's rules; a row without calls means to call nothing.
    Others: as for the task `rows`; the key is the row's column `answer`, or else the answer of the recorded solution.
    """

    use: Literal["calls", "number", "text", "phrase", "choice", "math"] = "calls"  # type: ignore[assignment]
    """The kind of check."""


class ConversationsOptions(BrokenRows, TaskOptions):
    """Problems and demonstrations from dialogues of tool use. Either `files` or `dataset` is needed."""

    files: dict[str, tuple[str, ...]] = {}
    """The files of every split, or patterns such as `train-*.jsonl`: `train`, and others such as `in-domain`; JSONL,
    JSON, CSV, TSV or parquet."""
    dataset: str = ""
    """A data set's id on the Hugging Face hub (owner/name), or a folder with data files, relative to the recipe's
    folder."""
    config: str | None = None
    """Which of the data set's configurations."""
    revision: str | None = None
    """A revision on the hub: a commit, so that the same recipe means the same rows for ever."""
    splits: dict[str, str] = Field(default={"train": "train"}, min_length=1)
    """Which of the data set's splits serves as which of the task's: `in-domain: test`, or a slice `train[:500]`."""
    format: str = "auto"
    """The rows' format, one of `mentorkit plugins formats`; auto: found out from the rows."""
    tools: Literal["declared", "bound"] = "declared"
    """declared: the row's tools, which are never run. bound: the recipe's tools of the same names take their place and
    are run; a row without tools has all of the recipe's."""
    check: ConversationCheck = ConversationCheck()
    """calls, number, text, phrase, choice or math; or one of them with options."""

    _one_or_several = field_validator("files", mode="before", json_schema_input_type=dict[str, str | tuple[str, ...]])(
        one_or_several
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.files) == bool(self.dataset):
            raise ValueError("expected either `files` or `dataset`")
        fields = type(self).model_fields
        meant = [name for name in ("config", "revision", "splits") if getattr(self, name) != fields[name].default]
        if self.files and meant:
            raise ValueError(f"`{meant[0]}` belongs to `dataset`, not to `files`")
        return self

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return tuple(self.files or self.splits)


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
    from mentor_kit_data import missing

    if reason := missing("datasets", "hub-data"):
        message, _, hint = reason.partition("\n")
        raise MissingError(f"the data set {options.dataset!r} cannot be loaded: {message}", hint=hint)
    return rows_of_data_set(options, folder)


def known_formats(name: str, context: BuildContext) -> dict[str, DataFormat]:
    """The formats that rows may have: all that can be read, or the one that is named.

    Raises:
        DataError: no format has that name, or it cannot be read.
    """
    readable = {known: one for known, one in data_formats(context.registry).items() if one.can_read}
    if name == "auto":
        return readable
    if name not in readable:
        raise DataError(
            f"no format that can be read is called {name!r}{did_you_mean(name, readable)}",
            hint=f"known formats: auto, {', '.join(readable)}; `mentorkit plugins formats` lists them",
        )
    return {name: readable[name]}


def with_format(rows: Iterable[DataRow], formats: Mapping[str, DataFormat], name: str) -> Iterator[DataRow]:
    """Yield the rows of a split, each with its dialogue, or its fault, in place of its columns.

    Raises:
        DataError: the format is to be found out, and is unknown or ambiguous.
    """
    rows = iter(rows)
    first = list(itertools.islice(rows, LOOKED_AT))
    if name == "auto" and first:
        try:
            name = format_of([row.values for row in first if not isinstance(row.values, BadRow)], formats)
        except DataFormatError as error:
            raise DataError(f"{first[0].source}: {error.reason}", hint=error.hint) from None
    for row in joined_rows(itertools.chain(first, rows), formats[name]):
        yield _read(row, formats[name])


def _read(row: DataRow, known: DataFormat) -> DataRow:
    """The row with its dialogue as its only column, or with its fault."""
    if isinstance(row.values, BadRow):
        return row
    try:
        values: Mapping[str, Json] | BadRow = {"dialogue": known.read(row.values)}
    except DataFormatError as error:
        values = BadRow(error.column, error.reason, error.hint or "")
    return DataRow(row.source, row.number, values, row.label)


class DialogueProblems:
    """Makes problems of rows with dialogues, and keeps what follows each problem."""

    def __init__(self, options: ConversationsOptions) -> None:
        self._options = options
        self._text = options.answer == "text"
        self.recorded: list[tuple[Message, ...]] = []
        """What follows the problem in each row that has become one."""

    def __call__(self, row: DataRow, split: str) -> Problem:
        dialogue: Dialogue = row.get("dialogue")
        messages = dialogue.messages
        last = max(index for index, message in enumerate(messages) if message.role == "user")
        if not messages[last].content.strip():
            raise BadRow("", "the last turn of the user is empty")
        lead = 1 if messages[0].role == "system" else 0
        history, rest = messages[lead:last], messages[last + 1 :]
        if any(message.role == "system" for message in (*history, *rest)):
            raise BadRow("", "there is a system message after the first turn")
        bound = self._options.tools == "bound"
        answer = self._answer(dialogue, rest)
        self.recorded.append(self._counted(rest))
        return Problem(
            id=f"{split}/{dialogue.id or row.name}",
            question=messages[last].content,
            answer=answer,
            split=split,
            group=dialogue.group or "",
            system=messages[0].content if lead else "",
            history=_executed(history),
            tools=tuple(tool.model_copy(update={"bound": bound}) for tool in dialogue.tools),
            extra={_ROW: len(self.recorded) - 1},
        )

    def _answer(self, dialogue: Dialogue, rest: Sequence[Message]) -> str:
        """The key: the right calls as JSON, or the answer."""
        first = next((message for message in rest if message.role == "assistant"), None)
        if self._options.check.use == "calls":
            if dialogue.calls is None and first is None:
                raise BadRow("", "nothing follows the last turn of the user, so there are no right calls")
            return self._right_calls(dialogue, first)
        if dialogue.key is not None:
            return dialogue.key.strip()
        if dialogue.correct is False:
            raise BadRow("", "its answer is said to be wrong, and there is no key")
        text = rest[-1].content if rest and rest[-1].role == "assistant" else ""
        found = text.strip() if self._text else boxed_answer(text)
        if not found:
            wanted = "text" if self._text else r"\boxed{…}"
            raise BadRow("answer", f"there is no key: no column `answer`, and no {wanted} in the last turn")
        return found

    def _right_calls(self, dialogue: Dialogue, first: Message | None) -> str:
        """The row's right calls, or those of the first turn."""
        if dialogue.calls is not None:
            return calls_as_answer(dialogue.calls)
        calls = first.tool_calls if first is not None else ()
        if dialogue.correct is False:
            raise BadRow("", "its answer is said to be wrong, so its calls are not the right ones")
        if any(call.state is CallState.MALFORMED for call in calls):
            raise BadRow("", "it has a malformed call, so its calls are not the right ones")
        return calls_as_answer(calls)

    def _counted(self, rest: Sequence[Message]) -> tuple[Message, ...]:
        """What follows, with its calls executed; with `check: calls` those of the first turn alone are compared."""
        found = _executed(rest)
        if self._options.check.use != "calls":
            return found
        first = next((index for index, message in enumerate(rest) if message.role == "assistant"), len(rest))
        return tuple(found[index] if index == first else message for index, message in enumerate(rest))


def _executed(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Messages whose calls were executed, or failed where the result is an error; malformed ones stay as they are."""
    found = []
    for index, message in enumerate(messages):
        results = itertools.takewhile(lambda later: later.role == "tool", messages[index + 1 :])
        pairs = itertools.zip_longest(message.tool_calls, itertools.islice(results, len(message.tool_calls)))
        calls = tuple(_after(call, answer) for call, answer in pairs)
        found.append(message.model_copy(update={"tool_calls": calls}) if calls else message)
    return tuple(found)


def _after(call: ToolCall, answer: Message | None) -> ToolCall:
    if call.state is CallState.MALFORMED:
        return call
    failed = answer is not None and answer.result is not None and not answer.result.ok
    return call.at(CallState.FAILED, answer.content) if failed and answer else call.at(CallState.EXECUTED)


def calls_as_answer(calls: Sequence[ToolCall]) -> str:
    """Calls as an answer, or a key: one line of JSON."""
    return json.dumps([{"name": call.name, "arguments": call.arguments} for call in calls], ensure_ascii=False)


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
        row: Any = problem.extra.get(_ROW)
        return self._recorded[row] if isinstance(row, int) and 0 <= row < len(self._recorded) else ()


def _plain(call: ToolCall) -> ToolCall:
    return ToolCall(name=call.name, arguments=call.arguments)
