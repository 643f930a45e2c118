"""Reads files of tool-use data as dialogues: their format is found out, and every row is a dialogue or a fault.

files ──lines──> rows ──DataFormat.read──> dialogues, and what is wrong with the other rows
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mentor_kit.core.data_format import LOOKED_AT, DataFormat, DataFormatError, Dialogue, format_of
from mentor_kit.core.errors import DataError, did_you_mean
from mentor_kit.runs.rows import SUFFIXES, BadRow, DataRow, read_rows

#: The name that stands for the format that is found out.
AUTO = "auto"


@dataclass(frozen=True)
class RowFault:
    """What is wrong with a row, or what of it a format cannot express."""

    place: str
    """The file and the row, or the episode of a run."""
    column: str
    """The column at fault; empty for the whole row."""
    reason: str
    hint: str = ""

    @property
    def error(self) -> DataError:
        """The fault as an error, for callers who take no broken rows."""
        column = f", column {self.column}" if self.column else ""
        return DataError(f"{self.place}{column}: {self.reason}", hint=self.hint or None)


@dataclass(frozen=True)
class DialogueRow:
    """A row with its dialogue."""

    place: str
    """The file and the row, or the episode of a run."""
    dialogue: Dialogue
    reward: float | None = None
    """The reward of a recorded rollout or evaluated episode."""


class DataFile:
    """A file of tool-use data, or a folder of such files, all of one format.

    Args:
        path: the file or the folder.
        formats: the known formats by name, in the order in which a format is looked for.
        format: the name of its format; `auto` to find it out.

    Raises:
        DataError: there is no such file, its format is unknown or ambiguous, or no format has that name.
    """

    def __init__(self, path: Path, formats: Mapping[str, DataFormat], format: str = AUTO) -> None:
        self.path = path
        self._files = data_files(path)
        self.format_name = self._found_out(formats) if format == AUTO else _readable(format, formats)
        self.format = formats[self.format_name]

    def rows(self) -> Iterator[DialogueRow | RowFault]:
        """Yield every row in order: its dialogue, or what is wrong with it."""
        for row in joined_rows(self._lines(), self.format):
            if isinstance(row.values, BadRow):
                yield RowFault(row.place, row.values.column, row.values.reason, row.values.hint)
                continue
            try:
                yield DialogueRow(row.place, self.format.read(row.values))
            except DataFormatError as error:
                yield RowFault(row.place, error.column, error.reason, error.hint or "")

    def _lines(self) -> Iterator[DataRow]:
        return itertools.chain.from_iterable(map(read_rows, self._files))

    def _found_out(self, formats: Mapping[str, DataFormat]) -> str:
        first = list(itertools.islice(self._lines(), LOOKED_AT))
        try:
            return format_of_rows(first, formats)
        except DataFormatError as error:
            if len(self._files) > 1:
                self._check_each(formats)
            raise DataError(f"{self.path}: {error.reason}", hint=error.hint) from None

    def _check_each(self, formats: Mapping[str, DataFormat]) -> None:
        """Raise `DataError` for the first file whose format is unknown, or another than the first one's."""
        first, lead = "", self.path
        for file in self._files:
            if next(read_rows(file), None) is None:
                continue
            one = DataFile(file, formats)
            first, lead = (first, lead) if first else (one.format_name, file)
            if one.format_name != first:
                reason = f"{lead} is {first}, {file} is {one.format_name}"
                raise DataError(f"files have different formats: {reason}", hint="put files of one format into a folder")


def format_of_rows(rows: Sequence[DataRow], formats: Mapping[str, DataFormat]) -> str:
    """Return the name of the format of a file's first rows, see `format_of`; rows that cannot be read are passed over.

    Raises:
        DataFormatError: see `format_of`.
        DataError: none of the rows can be read.
    """
    bad = [row.values for row in rows if isinstance(row.values, BadRow)]
    if rows and len(bad) == len(rows):
        raise rows[0].fault(bad[0])
    good = [(row, row.values) for row in rows if not isinstance(row.values, BadRow)]
    one_file = len({row.source for row in rows}) == 1
    places = [f"row {row.number}" if one_file else row.place for row, _ in good]
    return format_of([values for _, values in good], formats, places)


def joined_rows(lines: Iterable[DataRow], format: DataFormat) -> Iterator[DataRow]:
    """Yield the rows of a file's lines: each line is one, unless the format's rows take several.

    A row has the number of its first line; a line that cannot be read ends the row before it, and is a row of its own.
    """
    if not format.one_per_file:
        yield from lines
        return
    first: DataRow | None = None
    held: list[Mapping[str, object]] = []
    for line in lines:
        if first is not None and (isinstance(line.values, BadRow) or format.begins(line.values)):
            yield replace(first, values=dict(format.joined(held)))
            first = None
        if isinstance(line.values, BadRow):
            yield line
        elif first is None:
            first, held = line, [line.values]
        else:
            held.append(line.values)
    if first is not None:
        yield replace(first, values=dict(format.joined(held)))


def data_files(path: Path) -> Sequence[Path]:
    """Return a file, or the files with rows in a folder and below it, in order.

    Raises:
        DataError: there is no such file or folder, or no file in it.
    """
    if not path.exists():
        around = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file {path}{did_you_mean(path.name, around)}")
    if not path.is_dir():
        return (path,)
    found = sorted(
        file
        for file in path.rglob("[!.]*")
        if file.is_file() and file.name.lower().removesuffix(".gz").endswith(SUFFIXES)
    )
    if not found:
        raise DataError(f"no file in {path} has rows", hint=f"known endings: {', '.join(SUFFIXES)}")
    return found


def _readable(name: str, formats: Mapping[str, DataFormat]) -> str:
    readable = [known for known, one in formats.items() if one.can_read]
    if name not in readable:
        raise DataError(
            f"no format that can be read is called {name!r}{did_you_mean(name, readable)}",
            hint=f"known formats: {AUTO}, {', '.join(readable)}; `mentorkit plugins formats` lists them",
        )
    return name
