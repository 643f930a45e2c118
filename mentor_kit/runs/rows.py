"""Rows of data files, each with its file and line for error messages."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, cast

from mentor_kit.core.errors import DataError, MissingError, did_you_mean
from mentor_kit.core.frozen_model import Json

_ROWS_AT_ONCE = 1024
#: Halves of surrogate pairs as JSON escapes them; whole pairs are characters.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF_PAIR = "a string has half a surrogate pair, which is no character"
_CUT_CHARACTER = "a character was cut in two where the row was made: delete what is left of it"
#: The largest cell in characters; the csv module's default is 131,072.
_LONGEST_CELL = 2**31 - 1
#: How much of a first line a message shows.
_SHOWN = 200
#: The endings of files that are read; those of text formats also with `.gz` behind them.
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


class BadRow(Exception):
    """A row that cannot be used.

    Args:
        column: the column at fault; empty for the whole row.
        reason: what was expected, and what was found.
        hint: what to do next; by default, to mend the row or to leave it out.
    """

    def __init__(self, column: str, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason if len(reason) <= 200 else reason[:197] + "..."
        self.hint = hint


@dataclass(frozen=True)
class DataRow:
    """One row of a file."""

    source: str
    """The file's name, or a data set's."""
    number: int
    """From 1; in text files the number of the line it starts in."""
    values: Mapping[str, Json] | BadRow
    label: str = ""
    """What the id of a row without one starts with; the source's name if empty."""

    @property
    def place(self) -> str:
        """`file, row n`, for messages."""
        return f"{self.source}, row {self.number}"

    @property
    def name(self) -> str:
        """A name that no other row of the split has, for ids."""
        return f"{self.label or Path(self.source).stem}/{self.number}"

    def get(self, column: str) -> Json:
        """The value of a column: `a.b` is the key `b` of the record in column `a`, `a.0` the first entry of the list.

        A column of that whole name has precedence.

        Raises:
            BadRow: there is no such column, or the row cannot be read at all.
        """
        if isinstance(self.values, BadRow):
            raise self.values
        if column in self.values:
            return self.values[column]
        value: Json = self.values
        for step in column.split("."):
            if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
                continue
            if not isinstance(value, Mapping) or step not in value:
                known = [str(name) for name in self.values]
                raise BadRow(
                    column, f"there is no such column{did_you_mean(column, known)}; the row has {', '.join(known)}"
                )
            value = value[step]
        return value

    def text(self, column: str) -> str:
        """A column's text; numbers are written out.

        Raises:
            BadRow: it is neither, or empty.
        """
        value = self.get(column)
        if is_number(value):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise BadRow(column, f"expected a text, found {value!r}", hint_for(column, value))
        return value

    def fault(self, bad: BadRow) -> DataError:
        """The error that names file, row and column."""
        column = f", column {bad.column}" if bad.column else ""
        skip = "mend the row, or let the recipe skip such rows: `broken: skip`"
        return DataError(f"{self.place}{column}: {bad.reason}", hint=f"{bad.hint}; or {skip}" if bad.hint else skip)


def is_number(value: object) -> bool:
    """Whether a cell has a number: no bool, and none that is missing (NaN) or infinite."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def hint_for(column: str, value: Json) -> str:
    """What helps where a cell has something else than a text or a number."""
    if isinstance(value, Mapping) and value:
        return f"name a key in it, such as `{column}.{next(iter(value))}`"
    if isinstance(value, list) and value:
        inner = ".content" if isinstance(value[0], Mapping) and "content" in value[0] else ""
        return f"name an entry of the list, such as `{column}.0{inner}`"
    return "write it as the words that answers have" if isinstance(value, bool) else ""


def read_rows(file: Path, label: str = "") -> Iterator[DataRow]:
    """The rows of a file, in order; its format is known by the ending of its name, with or without `.gz` behind it.

    Raises:
        DataError: there is no such file, it cannot be read as a whole, or its ending is unknown.
        MissingError: the file is parquet, and pyarrow is not installed.
    """
    try:
        for row in _reader(file)(file):
            yield replace(row, label=label)
    except FileNotFoundError:
        around = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        hint = "paths are relative to the recipe's folder, or to its `folder`: --set folder=FOLDER"
        raise DataError(f"there is no file {file}{did_you_mean(file.name, around)}", hint=hint) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _reader(file: Path) -> Callable[[Path], Iterator[DataRow]]:
    if file.is_dir():
        raise DataError(f"{file} is a folder", hint=f"name its files, also by a pattern: {file.name}/*.jsonl")
    readers = {".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
    suffix = _suffix(file)
    if suffix not in SUFFIXES:
        raise DataError(
            f"{file}: the ending {suffix!r} is of no known format" if suffix else f"{file}: the name has no ending",
            hint=f"known endings: {', '.join(SUFFIXES)}; the text formats with .gz behind it, too",
        )
    return readers.get(suffix, _json_lines)


def _suffix(file: Path) -> str:
    name = file.name.lower()
    plain = Path(name.removesuffix(".gz")).suffix
    return ".parquet.gz" if plain == ".parquet" and name.endswith(".gz") else plain


def _opened(file: Path) -> IO[bytes]:
    """The file's bytes, unpacked, behind a mark of UTF-8 if there is one.

    Raises:
        DataError: it is text in UTF-16.
    """
    opened = gzip.open if file.name.lower().endswith(".gz") else open
    stream = cast("IO[bytes]", opened(file, "rb"))
    start = stream.read(3)
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        stream.close()
        raise DataError(f"{file} is text in UTF-16; expected UTF-8", hint="save it as UTF-8, or CSV UTF-8 in Excel")
    stream.seek(len(start) if start == codecs.BOM_UTF8 else 0)
    return stream


def _json_lines(file: Path) -> Iterator[DataRow]:
    """One object a line; an empty line is none. A file with one JSON list of objects is read, too."""
    with _opened(file) as stream:
        start = stream.tell()
        beginning = stream.read(1024).lstrip()
        stream.seek(start)
        # a list on lines of its own, in a file of whatever name; `[1]` on the first line is a line
        if beginning.startswith(b"[") and (_suffix(file) == ".json" or beginning[1:].lstrip()[:1] == b"{"):
            yield from _json_list(file, stream.read())
            return
        if _suffix(file) == ".json" and beginning.startswith(b"{"):
            _check_lines(file, stream.readline(), stream)
            stream.seek(start)
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield DataRow(str(file), number, _object(line))


def _check_lines(file: Path, first: bytes, rest: IO[bytes]) -> None:
    """Raises `DataError` where a `.json` file is one object, with the rows somewhere inside."""
    if isinstance(_object(first), Mapping) and any(line.strip() for line in rest):
        return
    try:
        whole = json.loads(first + rest.read())
    except (ValueError, RecursionError):
        return
    lists = [name for name, value in whole.items() if isinstance(value, list)] if isinstance(whole, dict) else []
    columns = [name for name, value in whole.items() if isinstance(value, dict)] if isinstance(whole, dict) else []
    if lists or len(columns) > 1:
        inside = f"the rows may be in {lists[0]!r}" if lists else "it may be pandas' table by columns"
        raise DataError(
            f"{file} is one JSON object; expected a list of objects, or one object a line; {inside}",
            hint=f"write that list alone: jq '.{lists[0]}' {file.name}" if lists else "to_json(…, orient='records')",
        )


def _object(line: bytes) -> Mapping[str, Json] | BadRow:
    try:
        value = json.loads(line, object_pairs_hook=_once)
    except UnicodeDecodeError:
        return BadRow("", "expected UTF-8", "save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return BadRow("", f"this is no JSON: {error}")
    return _row(value, line)


def _row(value: Any, written: bytes) -> Mapping[str, Json] | BadRow:
    """The row in a value of JSON, or what is wrong with it.

    Args:
        value: the value.
        written: the bytes that it was read from, or what it stands in.
    """
    if isinstance(value, BadRow):
        return value
    if not isinstance(value, dict):
        return BadRow("", f"expected an object, found {value!r}")
    if _SURROGATE.search(written):
        for column, inner in value.items():
            if not _is_unicode([column, inner]):
                return BadRow(column, _HALF_PAIR, _CUT_CHARACTER)
    return value


def _is_unicode(value: Json) -> bool:
    """Whether all strings in a value can be written, which half a surrogate pair cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Json] | BadRow:
    """An object, if its keys occur once each, also in the objects inside."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        return BadRow(twice, "the key occurs twice in one object")
    for name, value in pairs:
        if (inner := _bad_in(value)) is not None:
            return BadRow(f"{name}.{inner.column}", inner.reason)
    return found


def _bad_in(value: Any) -> BadRow | None:
    """The first object in a value, or in its lists, one of whose keys occurs twice."""
    if isinstance(value, list):
        return next(filter(None, map(_bad_in, value)), None)
    return value if isinstance(value, BadRow) else None


def _json_list(file: Path, content: bytes) -> Iterator[DataRow]:
    try:
        values = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{file} is no JSON: {error}", hint="expected a list of objects, or one object a line"
        ) from None
    for number, value in enumerate(values, start=1):
        yield DataRow(str(file), number, _row(value, content))


def _csv(file: Path) -> Iterator[DataRow]:
    csv.field_size_limit(_LONGEST_CELL)
    # surrogateescape: a bad byte makes its row alone broken
    with io.TextIOWrapper(_opened(file), encoding="utf-8", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, delimiter=_delimiter(file))
        names: list[str] = []
        start = 1
        try:
            for cells in reader:
                if not names:
                    names = _names(file, cells)
                elif cells:
                    yield DataRow(str(file), start, _cells(names, cells))
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{file}, row {start}: {error}", hint="is a quotation mark missing?") from None


def _delimiter(file: Path) -> str:
    """What is between cells: as its name says, or a semicolon where the first line has no comma, as Excel writes it."""
    if _suffix(file) == ".tsv":
        return "\t"
    with _opened(file) as stream:
        first = stream.readline()
    return ";" if b";" in first and b"," not in first else ","


def _names(file: Path, cells: list[str]) -> list[str]:
    cells = [cell.strip() for cell in cells]
    if len(set(cells)) < len(cells):
        line = ", ".join(cells)
        shown = line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
        hint = "this looks like JSON: end its name with .jsonl" if cells[0].startswith(("{", "[")) else None
        raise DataError(f"{file}: two columns have the same name; its first line is {shown}", hint=hint)
    return cells


def _cells(names: list[str], cells: list[str]) -> Mapping[str, Json] | BadRow:
    if len(cells) != len(names):
        return BadRow("", f"expected {len(names)} cells, found {len(cells)}")
    for name, cell in zip(names, cells, strict=True):
        if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
            return BadRow(name, "expected UTF-8", "save the file as UTF-8")
    return dict(zip(names, cells, strict=True))


def parquet_libraries(file: Path) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet, for a file.

    Raises:
        MissingError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingError(
            f"{file} is a parquet file, and pyarrow is not installed", hint="pip install 'mentor-kit[data]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _parquet(file: Path) -> Iterator[DataRow]:
    arrow, parquet = parquet_libraries(file)
    number = 0
    try:
        with file.open("rb") as stream, parquet.ParquetFile(stream) as table:
            decode = _decoder(arrow.struct(list(table.schema_arrow)))
            for batch in table.iter_batches(_ROWS_AT_ONCE):
                values: dict[str, Any]
                for values in batch.to_pylist():
                    number += 1
                    yield DataRow(str(file), number, values if decode is None else decode(values))
    except arrow.ArrowException as error:
        raise DataError(f"{file} is not a readable parquet file: {error}", hint="copy it again") from error


def _decoder(kind: Any) -> Callable[[Any], Any] | None:
    """Returns a function that decodes the JSON in values of an Arrow type; None where the type has no JSON in it.

    Arrow's type `json` is how the Hugging Face library `datasets` keeps what differs from row to row.
    """
    import pyarrow as arrow

    if getattr(kind, "extension_name", "") == "arrow.json":
        return lambda value: json.loads(value) if isinstance(value, str) else value
    if arrow.types.is_struct(kind):
        found = [(field.name, _decoder(field.type)) for field in kind.fields]
        inner = [(name, decode) for name, decode in found if decode is not None]
        return (lambda value: _decoded(value, inner)) if inner else None
    if arrow.types.is_list(kind) or arrow.types.is_large_list(kind):
        decode = _decoder(kind.value_type)
        if decode is not None:
            return lambda value: [decode(item) for item in value] if isinstance(value, list) else value
    return None


def _decoded(value: Any, fields: Sequence[tuple[str, Callable[[Any], Any]]]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {**value, **{name: decode(value[name]) for name, decode in fields}}
