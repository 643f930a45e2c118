"""Looks at a file of data: whether its rows are dialogues or questions, their columns, and how answers are compared."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mentor_kit.core.data_format import DataFormat
from mentor_kit.core.errors import DataError, did_you_mean
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.dialogue_rows import DataFile, DialogueRow, RowFault
from mentor_kit.runs.rows import BadRow, DataRow, read_rows

#: How many rows are looked at.
LOOKED_AT = 10_000
#: A column with more different values than this names no groups.
_MOST_GROUPS = 50
#: Longer answers are no names or phrases.
_LONGEST_ANSWER = 200

_NO_CALLS = "no row has a call, and an answer without calls is right: `sft` learns from these rows, `grpo` does not"

#: Names that a column for each of the task's fields may have, the likeliest first, in lower case.
COLUMNS: dict[str, tuple[str, ...]] = {
    "question": ("question", "problem", "prompt", "query", "input", "instruction", "text"),
    "answer": ("answer", "key", "target", "label", "expected", "output", "response", "solution", "result"),
    "choices": ("choices", "options"),
    "group": ("group", "category", "subject", "topic", "level", "difficulty", "type"),
    "system": ("system", "system_prompt"),
    "calls": ("calls",),
}


@dataclass(frozen=True)
class DataLook:
    """What a file of data was found to be."""

    task: str
    """`conversations` or `rows`."""
    check: str
    """How answers are compared."""
    rows: int
    """How many rows were looked at, `LOOKED_AT` at most."""
    faulty: int
    """How many of them cannot be used."""
    characters: int
    """The median length of what the student would read and imitate of a row."""
    format: str = ""
    """The format of dialogues."""
    columns: Mapping[str, str] | None = None
    """For `rows`: the columns of the fields that it has."""
    answer_pattern: str | None = None
    """For `rows`: where the key stands inside the answer's column."""
    calls: tuple[str, ...] = ()
    """For `rows`: the names of the tools in the column of calls, sorted."""
    note: str = ""
    """What the rows are not enough for; empty if nothing."""

    @property
    def kind(self) -> str:
        """What the rows are."""
        return f"dialogues, format {self.format}" if self.format else "questions"

    def text(self) -> str:
        """Return what the data is, in one line."""
        kind = self.kind
        if self.columns is not None:
            kind += f", {', '.join(f'{field} in {column!r}' for field, column in self.columns.items())}"
        several = f"{'at least ' if self.rows == LOOKED_AT else ''}{self.rows:,} row{'' if self.rows == 1 else 's'}"
        left_out = f", {self.faulty:,} of them left out" if self.faulty else ""
        return f"{several}{left_out}: {kind}; checked by {self.check}"


def look_at(path: Path, formats: Mapping[str, DataFormat], columns: Mapping[str, str]) -> DataLook:
    """Look at a file of data.

    Args:
        path: the file.
        formats: the formats of dialogues by name.
        columns: the columns of fields, where the user names them.

    Raises:
        DataError: the file cannot be read, has no rows, or no column looks like a question's or an answer's.
        MissingError: a package is not installed.
    """
    rows = list(itertools.islice(read_rows(path), LOOKED_AT))
    if not rows:
        raise DataError(f"{path} has no rows")
    good = [row.values for row in rows if not isinstance(row.values, BadRow)]
    if not good:
        raise rows[0].fault(next(row.values for row in rows if isinstance(row.values, BadRow)))
    if not columns and any(one.recognizes(good[0]) for one in formats.values() if one.can_read):
        return _dialogues(path, formats)
    return _questions(path, rows, good, columns)


def look_at_held_out(path: Path, formats: Mapping[str, DataFormat], training: DataLook) -> DataLook:
    """Look at a file of held-out rows, which have the form of the training rows.

    Raises:
        DataError: as `look_at`; or the rows have another form.
    """
    found = look_at(path, formats, training.columns or {})
    if (found.task, found.format) != (training.task, training.format):
        raise DataError(
            f"{path} has {found.kind}, and the training rows are {training.kind}",
            hint="give held-out rows of the same form",
        )
    return found


def _dialogues(path: Path, formats: Mapping[str, DataFormat]) -> DataLook:
    opened = DataFile(path, formats)
    found = list(itertools.islice(opened.rows(), LOOKED_AT))
    taken = [row.dialogue for row in found if isinstance(row, DialogueRow)]
    if not taken:
        raise next(row for row in found if isinstance(row, RowFault)).error
    calls = any(one.calls or any(message.tool_calls for message in one.messages) for one in taken)
    keys = [one.key for one in taken if one.key is not None]
    check = check_of(keys) if not calls and len(keys) == len(taken) else "calls"
    lengths = [sum(len(message.content) for message in one.messages) for one in taken]
    return DataLook(
        "conversations",
        check,
        len(found),
        len(found) - len(taken),
        int(median(lengths)),
        opened.format_name,
        note="" if calls or check != "calls" else _NO_CALLS,
    )


def _questions(
    path: Path, rows: Sequence[DataRow], good: Sequence[Mapping[str, Json]], named: Mapping[str, str]
) -> DataLook:
    columns = {field: name for field in COLUMNS if (name := _column(path, field, good, named)) is not None}
    for field in ("question", "answer"):
        if field not in columns:
            raise DataError(
                f"{path}: no column looks like the {field}'s; its columns are {', '.join(map(str, good[0]))}",
                hint=f"name it: --{field} COLUMN",
            )
    asked, answers = (_values(good, columns[field]) for field in ("question", "answer"))
    usable = [index for index, pair in enumerate(zip(asked, answers, strict=True)) if all(map(_is_given, pair))]
    if not usable:
        raise DataError(
            f"{path}: no row has a {columns['question']!r} and a {columns['answer']!r}",
            hint="name other columns: --question COLUMN, --answer COLUMN",
        )
    keys = [answers[index] for index in usable]
    pattern = r"####\s*(.*)" if all(isinstance(key, str) and "####" in key for key in keys) else None
    if pattern is not None:
        keys = [str(key).rpartition("####")[2].strip() for key in keys]
    calls = _values(good, columns["calls"]) if "calls" in columns else []
    return DataLook(
        "rows",
        "choice" if "choices" in columns else check_of(keys),
        len(rows),
        len(rows) - len(usable),
        int(median(len(str(asked[index])) for index in usable)),
        columns=columns,
        answer_pattern=pattern,
        calls=tuple(sorted(_names_in(calls))),
    )


def _column(path: Path, field: str, rows: Sequence[Mapping[str, Json]], named: Mapping[str, str]) -> str | None:
    """The column of a field: the one that the user names, or the likeliest one; None where there is none.

    Raises:
        DataError: there is no column of the name that the user gives.
    """
    if field in named:
        step = named[field].split(".")[0]
        if named[field] not in rows[0] and step not in rows[0]:
            close = did_you_mean(named[field], map(str, rows[0]))
            there = ", ".join(map(str, rows[0]))
            raise DataError(f"{path}: there is no column {named[field]!r}{close}; there are {there}")
        return named[field]
    lower = {name.lower(): name for name in reversed(list(rows[0]))}
    likely = [lower[name] for name in COLUMNS[field] if name in lower]
    # a column that most rows leave empty, such as Alpaca's `input`, only adds to another one
    filled = [name for name in likely if 2 * sum(_is_given(row.get(name)) for row in rows) >= len(rows)]
    found = next(iter(filled or likely), None)
    return found if found is not None and _fits(field, [row.get(found) for row in rows]) else None


def _fits(field: str, values: Sequence[Json]) -> bool:
    """Whether a column's values are those of a field that a task may do without."""
    if field == "choices":
        return all(isinstance(value, list) and len(value) > 1 for value in values)
    if field == "calls":
        return all(isinstance(value, list) for value in values)
    if field == "group":
        return all(isinstance(value, str | int) for value in values) and 1 < len(set(values)) <= _MOST_GROUPS
    if field == "system":
        return all(isinstance(value, str) and value for value in values)
    return True


def check_of(keys: Iterable[Any]) -> str:
    """Return the kind of check for answers that have these keys: `number`, `math`, `text` or `phrase`."""
    strings = [str(key) for one in keys for key in (one if isinstance(one, list) else [one])]
    if all(map(_is_number, strings)):
        return "number"
    if any("\\" in string or "$" in string for string in strings):
        return "math"
    return "text" if all(len(string) <= _LONGEST_ANSWER for string in strings) else "phrase"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?([eE][-+]?\d+)?\s*", text) is not None and any(
        map(str.isdigit, text)
    )


def _values(rows: Iterable[Mapping[str, Json]], column: str) -> list[Json]:
    """The values of a column, `a.b` being one inside a record; None where a row has none."""
    found: list[Json] = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(DataRow("", number, row).get(column))
        except BadRow:
            found.append(None)
    return found


def _is_given(value: Json) -> bool:
    return value is not None and value not in ("", [])


def _names_in(calls: Iterable[Json]) -> set[str]:
    """The names of all calls in lists of calls, and in lists of lists."""
    found = set()
    for item in calls if isinstance(calls, Iterable) else ():
        if isinstance(item, list):
            found |= _names_in(item)
        elif isinstance(item, dict) and isinstance(item.get("name"), str):
            found.add(item["name"])
    return found
