"""The task `rows`: problems from files, by a mapping of columns."""

from __future__ import annotations

import itertools
import json
import logging
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from mentor_kit.core.conversation import Message
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.recipe.shorthand import one_or_several
from mentor_kit.runs.rows import BadRow, DataRow, hint_for, is_number
from mentor_kit_data import worked_solutions
from mentor_kit_data.checkers import checker
from mentor_kit_data.checking import Checker, Checking, letter_of
from mentor_kit_data.files import split_files
from mentor_kit_data.keys import KeyRule, keys_of
from mentor_kit_data.worked_solutions import has_solution, read_solution

#: (row, name of its split) -> the problem; raises `BadRow`.
MakeProblem = Callable[[DataRow, str], Problem]

#: Number of broken rows that are named one by one.
_NAMED = 10
#: Whole numbers from here on are no longer exact where a file has them as floats.
_LARGEST_WHOLE = 2**53

_log = logging.getLogger(__name__)


def _has_question(prompt: str) -> str:
    if "{question}" not in prompt:
        raise ValueError("must have {question} where the question goes")
    return prompt


Prompt = Annotated[str, AfterValidator(_has_question)]
"""The user's message, with `{question}` in place of the question."""


class Columns(OptionModel):
    """The columns of a problem's fields. `a.b` is the key `b` of the record in `a`, `a.0` its list's first entry."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    question: str = "question"
    """The question's text."""
    answer: str = "answer"
    """The key: a text or a number; a list of them where each is right; for choices a letter, a text or an index."""
    choices: str | None = None
    """A list of texts that the question offers; they are written below it with letters."""
    id: str | None = None
    """A name that no other row of the split has; the row's number if left out."""
    group: str | None = None
    """A label by which evaluations break their results down."""
    system: str | None = None
    """A system message of the problem's own."""
    calls: str | None = None
    """A worked solution: a list of calls, `{name: …, arguments: {…}}`, which the teacher `scripted` plays with the real
    tools, a turn each; a list of calls within the list is one turn."""


class BrokenRows(Checking):
    """Options of checks and of broken rows."""

    broken: Literal["fail", "skip"] = "fail"
    """fail: a broken row ends the run; skip: it is left out with a warning; either names its place."""


class RowsBase(BrokenRows):
    """Options that all tasks from rows share."""

    columns: Columns = Columns()
    """The columns of a problem's fields."""
    answer_pattern: str | None = None
    """A regular expression whose first group is the key inside the answer's column, such as `#### (.*)`."""
    prompt: Prompt = "{question}"
    """The user's message: a text with `{question}` in it."""

    @field_validator("answer_pattern")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"must be a regular expression: {error}") from None
        if groups < 1:
            raise ValueError("must have a group, in round brackets")
        return pattern


class RowsOptions(RowsBase, TaskOptions):
    """Problems from files."""

    files: dict[str, tuple[str, ...]] = Field(min_length=1)
    """The files of every split, or patterns such as `train-*.jsonl`: `train`, and others such as `in-domain`; JSONL,
    JSON, CSV, TSV or parquet."""

    _one_or_several = field_validator("files", mode="before", json_schema_input_type=dict[str, str | tuple[str, ...]])(
        one_or_several
    )

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return tuple(self.files)


def build(options: RowsOptions, context: BuildContext) -> RowsTask:
    """The task; its files are read now, so that their faults show before a model is loaded.

    Raises:
        DataError: a file cannot be read, or a row is broken and `broken` is `fail`.
        MissingError: a package is not installed.
    """
    rule = KeyRule(options, options.columns.answer)
    rows = rows_of_splits(options.files, context.recipe_folder)
    return rows_task(rows, ColumnProblems(options), options, rule, own_ids=options.columns.id is not None)


def rows_of_splits(files: Mapping[str, Sequence[str]], folder: Path) -> dict[str, Iterable[DataRow]]:
    """The rows of every split's files.

    Raises:
        DataError: names of files do not fit together; see `split_files`.
    """
    found = split_files(files, folder)
    return {split: itertools.chain.from_iterable(file.rows() for file in files) for split, files in found.items()}


def rows_task(
    sources: Mapping[str, Iterable[DataRow]],
    make: MakeProblem,
    options: BrokenRows,
    keys: KeyRule,
    *,
    own_ids: bool = False,
) -> RowsTask:
    """A task from the rows of its splits.

    Raises:
        DataError: a row is broken, or a split has no good one.
    """
    found = problems_of_splits(sources, make, options, keys, own_ids=own_ids)
    return RowsTask(found, checker(options.check), whole_text=options.answer == "text", broken=options.broken)


def problems_of_splits(
    sources: Mapping[str, Iterable[DataRow]],
    make: MakeProblem,
    options: BrokenRows,
    keys: KeyRule | None,
    *,
    own_ids: bool = False,
) -> dict[str, tuple[Problem, ...]]:
    """The problems of every split.

    Raises:
        DataError: a row is broken, or a split has no good one.
    """
    found = {
        split: read_problems(rows, split, make, options.broken, keys, own_ids=own_ids)
        for split, rows in sources.items()
    }
    for split, problems in found.items():
        if not problems:
            raise DataError(f"the split {split!r} has no problems", hint="are its files empty, or all rows left out?")
    _warn_of_leaks(found)
    return found


def read_problems(
    rows: Iterable[DataRow],
    split: str,
    make: MakeProblem,
    broken: Literal["fail", "skip"],
    keys: KeyRule | None = None,
    *,
    own_ids: bool = False,
) -> tuple[Problem, ...]:
    """The problems of a split, in order.

    Args:
        rows: of all its files.
        split: its name.
        make: makes a problem of a row.
        broken: whether a broken row ends it, or is left out.
        keys: finds keys that nothing can match.
        own_ids: whether the user has named a column of ids; else one that occurs again is replaced by the row's name.

    Raises:
        DataError: a row is broken, and `broken` is fail; names file, row and column.
    """
    found: dict[str, Problem] = {}
    places: dict[str, str] = {}
    left_out = 0
    for row in rows:
        try:
            problem = make(row, split)
            if keys is not None:
                keys.examine(problem)
            if problem.id in found and not own_ids:
                problem = problem.model_copy(update={"id": f"{split}/{row.name}"})
            if problem.id in found:
                own = "leave `columns.id` out, so that ids are made of files and rows" if own_ids else ""
                raise BadRow("", f"its id {problem.id!r} is that of {places[problem.id]}, too", own)
        except BadRow as bad:
            fault = row.fault(bad)
            if broken == "fail":
                raise fault from None
            left_out += 1
            if left_out <= _NAMED:
                _log.warning("%s (left out)", fault.message)
            continue
        found[problem.id] = problem
        places[problem.id] = row.place
    if left_out > _NAMED:
        _log.warning("%d more rows of the split %r are broken (left out)", left_out - _NAMED, split)
    return tuple(found.values())


def _warn_of_leaks(splits: Mapping[str, Sequence[Problem]]) -> None:
    """Warns of evaluation problems that training meets."""
    trained = {_squeezed(problem): problem.id for problem in splits.get(TRAIN, ())}
    for split, problems in splits.items():
        leaks = [problem for problem in problems if _squeezed(problem) in trained] if split != TRAIN else []
        if leaks:
            example = f"{leaks[0].id} is {trained[_squeezed(leaks[0])]}"
            _log.warning("%d of %d problems of %r are in %r, too: %s", len(leaks), len(problems), split, TRAIN, example)


def _squeezed(problem: Problem) -> str:
    """What a problem asks, with what went before, so that equal words in different dialogues are no leak."""
    said = (*(message.content for message in problem.history), problem.question)
    return " ".join(" ".join(said).split()).casefold()


class ColumnProblems:
    """Makes problems of rows by a mapping of columns."""

    def __init__(self, options: RowsBase) -> None:
        self._options = options
        self._pattern = None if options.answer_pattern is None else re.compile(options.answer_pattern)

    def __call__(self, row: DataRow, split: str) -> Problem:
        columns = self._options.columns
        question = row.text(columns.question)
        extra: dict[str, Json] = {}
        choices = () if columns.choices is None else _choices(row, columns.choices)
        if choices:
            extra["choices"] = list(choices)
            lines = (f"{letter_of(index)}. {choice}" for index, choice in enumerate(choices))
            question = "\n".join([question, *lines])
        keys = self._keys(row, choices)
        if len(keys) > 1:
            extra["keys"] = keys
        if columns.calls is not None:
            extra |= read_solution(row, columns.calls)
        name = row.name if columns.id is None else row.text(columns.id)
        return Problem(
            id=f"{split}/{name}",
            question=self._options.prompt.replace("{question}", question),
            answer=keys[0],
            split=split,
            group="" if columns.group is None else row.text(columns.group),
            system="" if columns.system is None else row.text(columns.system),
            extra=extra,
        )

    def _keys(self, row: DataRow, choices: Sequence[str]) -> list[str]:
        column = self._options.columns.answer
        value = row.get(column)
        values = value if isinstance(value, list) else [value]
        if not values:
            raise BadRow(column, "expected an answer, found an empty list")
        return [self._key(column, item, choices) for item in values]

    def _key(self, column: str, value: Json, choices: Sequence[str]) -> str:
        whole = is_number(value) and value == int(value)
        if choices and whole and self._options.check.use not in ("number", "math"):
            if not 0 <= value < len(choices):
                raise BadRow(column, f"expected a choice from 0 to {len(choices) - 1}, found {value}")
            return letter_of(int(value))
        if is_number(value):
            return str(int(value) if whole and abs(value) < _LARGEST_WHOLE else value)
        if not isinstance(value, str) or not value.strip():
            raise BadRow(column, f"expected a text or a number, found {value!r}", hint_for(column, value))
        if self._pattern is None:
            return self._chosen(column, value.strip(), choices)
        match = self._pattern.search(value)
        if match is None or not (match.group(1) or "").strip():
            raise BadRow(column, f"the pattern {self._pattern.pattern!r} finds no key in {value!r}")
        return self._chosen(column, match.group(1).strip(), choices)

    def _chosen(self, column: str, key: str, choices: Sequence[str]) -> str:
        """The key; one that is a choice's letter and another one's text is refused."""
        if self._options.check.use == "choice" and len(key) == 1 and (index := ord(key.upper()) - ord("A")) >= 0:
            texts = [place for place, choice in enumerate(choices) if choice.strip().casefold() == key.casefold()]
            if texts and index < len(choices) and texts != [index]:
                raise BadRow(
                    column,
                    f"{key!r} is the letter of the choice {choices[index]!r}, and the text of another one",
                    "give the choice by its index from 0",
                )
        return key


def _choices(row: DataRow, column: str) -> tuple[str, ...]:
    value = row.get(column)
    if isinstance(value, str):  # a cell of a CSV file
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRow(column, f"expected a list of texts, or one in JSON, found {value!r}") from None
    if not isinstance(value, list) or not 2 <= len(value) <= 26 or not all(isinstance(item, str) for item in value):
        raise BadRow(column, f"expected a list of 2 to 26 texts, found {value!r}", hint_for(column, value))
    return tuple(value)


class RowsTask(Task):
    """A task whose problems are all in memory. Training problems are shuffled by the seed.

    Args:
        problems: by split.
        check: compares answers with keys.
        whole_text: whether the answer is the last turn as a whole, not what its box has.
        broken: what a call of a worked solution that fails means, `fail` or `skip`.
    """

    def __init__(
        self,
        problems: Mapping[str, Sequence[Problem]],
        check: Checker,
        *,
        whole_text: bool = False,
        broken: Literal["fail", "skip"] = "fail",
    ) -> None:
        self.splits = tuple(problems)
        self._problems = problems
        self._checker = check
        self._whole_text = whole_text
        self._broken = broken

    def close(self) -> None:
        """End the checker's worker, if it has one."""
        self._checker.close()

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        found = list(self._problems.get(split, ()))
        if split == TRAIN:
            random.Random(seed).shuffle(found)
        return found[:count]

    def answer(self, trajectory: Trajectory) -> str | None:
        text = trajectory.final_text
        return (text.strip() or None) if self._whole_text else boxed_answer(text)

    def check(self, answer: str, problem: Problem) -> bool:
        choices = problem.extra.get("choices") or ()
        return any(self._checker.check(answer, key, choices, problem.question) for key in keys_of(problem))

    @property
    def has_solutions(self) -> bool:
        """Whether the rows have a column of calls."""
        return any(has_solution(problem) for problems in self._problems.values() for problem in problems[:1])

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        """The calls of the problem's row, then its key; see `mentor_kit_data.worked_solutions`."""
        answer = problem.answer if self._whole_text else rf"\boxed{{{problem.answer}}}"
        return worked_solutions.solve(problem, dialogue, answer=answer, broken=self._broken)
