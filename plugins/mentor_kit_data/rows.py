"""Rows of data files, each with its place, so that what is wrong with one can be said."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mentor_kit.errors import DataError, MissingError
from mentor_kit.record import Json

_ROWS_AT_ONCE = 1024
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


class BadRow(Exception):
    """A row that cannot be used.

    Args:
        column: the column at fault; empty for the whole row.
        reason: what was expected, and what was found.
    """

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason if len(reason) <= 200 else reason[:197] + "..."


@dataclass(frozen=True)
class Row:
    """One row of a file."""

    source: str
    """The file's name, or a data set's."""
    number: int
    """From 1; in text files the number of the line it starts in."""
    values: Mapping[str, Json] | BadRow

    @property
    def place(self) -> str:
        """`file, row n`, for messages."""
        return f"{self.source}, row {self.number}"

    def get(self, column: str) -> Json:
        """The value of a column; `a.b` is the key `b` of the record in column `a`, unless a column has that name.

        Raises:
            BadRow: there is no such column, or the row cannot be read at all.
        """
        if isinstance(self.values, BadRow):
            raise self.values
        if column in self.values:
            return self.values[column]
        value: Json = self.values
        for step in column.split("."):
            if not isinstance(value, Mapping) or step not in value:
                raise BadRow(column, f"there is no such column; the row has {', '.join(map(str, self.values))}")
            value = value[step]
        return value

    def text(self, column: str) -> str:
        """A column's text; numbers are written out.

        Raises:
            BadRow: it is neither, or empty.
        """
        value = self.get(column)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise BadRow(column, f"expected a text, found {value!r}")
        return value

    def fault(self, bad: BadRow) -> DataError:
        """The error that names file, row and column."""
        column = f", column {bad.column}" if bad.column else ""
        return DataError(
            f"{self.place}{column}: {bad.reason}", hint="mend the row, or let the recipe skip such rows: `broken: skip`"
        )


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a file, in order; its format is known by the ending of its name.

    Raises:
        DataError: there is no such file, it cannot be read as a whole, or its ending is unknown.
        MissingError: the file is parquet, and pyarrow is not installed.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    suffix = file.suffix.lower()
    if suffix not in _SUFFIXES:
        raise DataError(
            f"{file}: the ending {suffix!r} is of no known format", hint=f"known endings: {', '.join(_SUFFIXES)}"
        )
    try:
        yield from readers.get(suffix, _json_lines)(file)
    except FileNotFoundError:
        hint = "paths are relative to the recipe's folder, or to its `folder`: --set folder=FOLDER"
        raise DataError(f"there is no file {file}", hint=hint) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error


def _json_lines(file: Path) -> Iterator[Row]:
    """One object a line; an empty line is none. A file with one JSON list of objects is read, too."""
    with file.open("rb") as stream:
        if file.suffix.lower() == ".json" and stream.read(1024).lstrip().startswith(b"["):
            yield from _json_list(file)
            return
        stream.seek(0)
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield Row(str(file), number, _object(line))


def _object(line: bytes) -> Mapping[str, Json] | BadRow:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow("", f"this is no JSON: {error}")
    return value if isinstance(value, dict) else BadRow("", f"expected an object, found {value!r}")


def _json_list(file: Path) -> Iterator[Row]:
    try:
        values = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is no JSON: {error}") from None
    for number, value in enumerate(values, start=1):
        good = value if isinstance(value, dict) else BadRow("", f"expected an object, found {value!r}")
        yield Row(str(file), number, good)


def _csv(file: Path) -> Iterator[Row]:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    # utf-8-sig: spreadsheets put a mark at the beginning; surrogateescape: a bad byte is its row's fault alone
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        names: list[str] = []
        start = 1
        try:
            for cells in reader:
                if not names:
                    names = _names(file, cells)
                elif cells:
                    yield Row(str(file), start, _cells(names, cells))
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{file}, row {start}: {error}", hint="is a quotation mark missing?") from None


def _names(file: Path, cells: list[str]) -> list[str]:
    if len(set(cells)) < len(cells):
        raise DataError(f"{file}: two columns have the same name; its first line is {', '.join(cells)}")
    return cells


def _cells(names: list[str], cells: list[str]) -> Mapping[str, Json] | BadRow:
    if len(cells) != len(names):
        return BadRow("", f"expected {len(names)} cells, found {len(cells)}")
    for name, cell in zip(names, cells, strict=True):
        if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
            return BadRow(name, "expected UTF-8")
    return dict(zip(names, cells, strict=True))


def _parquet(file: Path) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise MissingError(
            f"{file} is a parquet file, and pyarrow is not installed", hint="pip install 'mentor-kit[data]'"
        ) from None
    number = 0
    try:
        with file.open("rb") as stream, parquet.ParquetFile(stream) as table:
            for batch in table.iter_batches(_ROWS_AT_ONCE):
                values: dict[str, Any]
                for values in batch.to_pylist():
                    number += 1
                    yield Row(str(file), number, values)
    except arrow.ArrowException as error:
        raise DataError(f"{file} is not a readable parquet file: {error}", hint="copy it again") from error
