"""Dialogues of tool use, and the base class of the data formats that they are read from and written to.

    row of a file ──DataFormat.read──> Dialogue ──DataFormat.write──> row of another file

A format is a plugin's component (`register_formats`). `format_of` finds out which one a file's rows have.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from pydantic import model_validator
from pydantic_core import PydanticSerializationError

from mentor_kit.core.conversation import CallState, Message, ToolCall, ToolResult
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.task import DeclaredTool

#: How many of a file's rows are looked at to find out its format.
LOOKED_AT = 100
_CUT_CHARACTER = "a character was cut in two where the row was made: delete what is left of it"


class Dialogue(FrozenModel):
    """One row of tool-use data, whatever format it came in."""

    messages: tuple[Message, ...]
    """Every turn of the row, in order: system, user, assistant with its calls, results of tools. Calls have the state
    PARSED; a result stands behind the turn that made its call."""
    tools: tuple[DeclaredTool, ...] = ()
    """The row's tools, declared only."""
    id: str | None = None
    """The row's name."""
    group: str | None = None
    """A label by which evaluations break their results down."""
    key: str | None = None
    """The answer's key, where the row has one."""
    calls: tuple[ToolCall, ...] | None = None
    """The right calls, where the row has them apart from its messages; `()` if nothing is to be called, None if the row
    says nothing about it."""
    correct: bool | None = None
    """The verdict on the dialogue's answer, where there is one."""

    @model_validator(mode="after")
    def _is_unicode(self) -> Self:
        """Raises `DataFormatError`: half a surrogate pair can be written to no file, and no tokenizer takes it."""
        try:
            self.model_dump_json()
        except (PydanticSerializationError, UnicodeEncodeError):
            raise DataFormatError(
                "", "a string has half a surrogate pair, such as \\ud83d, which is no character", hint=_CUT_CHARACTER
            ) from None
        return self


def as_data(message: Message) -> Message:
    """Return a message of an episode as data has it: its calls parsed, without their strings and later states.

    A call that could not be read stays as it is: data has no form for it.
    """
    calls = tuple(
        call if call.state is CallState.MALFORMED else ToolCall(name=call.name, arguments=call.arguments)
        for call in message.tool_calls
    )
    result = message.result
    plain = None if result is None else ToolResult(name=result.name, content=message.content, ok=result.ok)
    return message.model_copy(update={"tool_calls": calls, "result": plain})


class DataFormatError(DataError):
    """A row is not of its format, or a dialogue cannot be expressed in one.

    Args:
        column: the column at fault, such as `messages.2.tool_calls`; empty for the whole row.
        reason: what was expected, and what was found.
        hint: what to do next.
    """

    def __init__(self, column: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"column {column}: {reason}" if column else reason, hint=hint)
        self.column = column
        self.reason = reason


class DataFormat(ABC):
    """Base class of data formats: one published form of rows with dialogues of tool use.

    A format implements `recognizes` and one of `read` and `write`, or both. All three are pure.
    """

    limits: Sequence[str] = ()
    """What `write` cannot express in this format, one line each, such as `reasoning`."""
    one_per_file: bool = False
    """Whether a file holds one row, which takes several of its lines; see `begins`, `joined` and `lines`."""

    @abstractmethod
    def recognizes(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row looks like one of this format, by its columns and their types. Must be quick."""

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        """Return the dialogue of a row. Columns with None count as missing.

        Raises:
            DataFormatError: the row is not of this format.
        """
        raise NotImplementedError(f"{type(self).__name__} is only written")

    @property
    def can_read(self) -> bool:
        """Whether the format overrides `read`."""
        return type(self).read is not DataFormat.read

    def write(self, dialogue: Dialogue) -> dict[str, Json]:
        """Return a row with the dialogue.

        Raises:
            DataFormatError: the format has no place for something in the dialogue.
        """
        raise NotImplementedError(f"{type(self).__name__} is only read")

    @property
    def can_write(self) -> bool:
        """Whether the format overrides `write`."""
        return type(self).write is not DataFormat.write

    def begins(self, line: Mapping[str, Any]) -> bool:
        """Return whether a line of a file begins a row: True, unless rows take several lines."""
        return True

    def joined(self, lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the row that consecutive lines of a file make: the one that begins it, and those up to the next."""
        return lines[0]

    def lines(self, row: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
        """Return the lines of a file that a row takes: itself, unless rows take several."""
        return [row]


def format_of(rows: Iterable[Mapping[str, Any]], formats: Mapping[str, DataFormat], places: Sequence[str] = ()) -> str:
    """Return the name of the format that the first `LOOKED_AT` rows have.

    Where several formats recognise the rows and read the same dialogues from them, it is the first one. A row that no
    format recognises is passed over where others have a format: reading it names its fault.

    Args:
        rows: of a file, in order.
        formats: by name, in order; those that cannot read are left out.
        places: what messages call the rows; `row 1`, `row 2` and so on if left out.

    Raises:
        DataFormatError: there are no rows; no format recognises any row; rows have different formats; or formats that
            recognise the rows read different dialogues from them.
    """
    known = {name: one for name, one in formats.items() if one.can_read}
    called = itertools.chain(places, (f"row {number}" for number in itertools.count(len(places) + 1)))
    looked_at = list(zip(called, itertools.islice(rows, LOOKED_AT), strict=False))
    if not looked_at:
        raise DataFormatError("", "there are no rows, so the format cannot be found out")
    names = [(place, [name for name, one in known.items() if one.recognizes(row)]) for place, row in looked_at]
    names = [(place, found) for place, found in names if found]
    if not names:
        place, row = looked_at[0]
        raise DataFormatError(
            "",
            f"the format of {place} is unknown: its columns are {', '.join(map(str, row)) or 'none'}",
            hint=f"known formats of dialogues: {', '.join(known)}; `mentorkit plugins formats` lists them; rows without"
            " dialogues, such as questions with answers, become a recipe by `mentorkit new recipe FILE`",
        )
    shared = [name for name in known if all(name in found for _, found in names)]
    if not shared:
        raise DataFormatError("", _differing(names), hint="put rows of different formats into files of their own")
    first, *others = shared
    for other in others:
        if (differs := _first_difference(looked_at, known[first], known[other])) is not None:
            raise DataFormatError(
                "",
                f"the format may be {first!r} or {other!r}, which read {differs} differently",
                hint=f"name it: `format: {first}` or `format: {other}`",
            )
    return first


def _differing(names: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The message for rows that have no format in common: the first two that differ, or else all formats."""
    lead, first = names[0]
    for place, found in names:
        if not set(found) & set(first):
            return f"rows have different formats: {lead} is {' or '.join(first)}, {place} {' or '.join(found)}"
    every = sorted({name for _, found in names for name in found})
    return f"rows have different formats: no one of {', '.join(every)} fits all of them"


def _first_difference(
    rows: Sequence[tuple[str, Mapping[str, Any]]], first: DataFormat, second: DataFormat
) -> str | None:
    """The place of the first row that two formats read differently; None if there is none."""
    for place, row in rows:
        if _read_or_fault(first, row) != _read_or_fault(second, row):
            return place
    return None


def _read_or_fault(one: DataFormat, row: Mapping[str, Any]) -> Dialogue | None:
    try:
        return one.read(row)
    except DataFormatError:
        return None
