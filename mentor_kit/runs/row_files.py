"""Writes rows of data as files that other programs load: JSON lines, a JSON list, or parquet.

rows ──ending of the name──> .jsonl, .ndjson (also .gz) · .json · .parquet ──renamed──> the file

A file is written under a temporary name and renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mentor_kit.core.errors import MissingError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.files import storage_errors
from mentor_kit.utils.files import NEW

if TYPE_CHECKING:
    from typing import TextIO

#: The endings of files that can be written.
ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".json", ".parquet")


def check_ending(path: Path) -> None:
    """Check that a file of this name can be written.

    Raises:
        UsageError: its ending is of no format that can be written.
        MissingError: it is parquet, and pyarrow is not installed.
    """
    if not path.name.lower().endswith(ENDINGS):
        raise UsageError(
            f"{path}: the ending {path.suffix!r} is of no format that rows are written in",
            hint=f"name a file that ends with one of {', '.join(ENDINGS)}",
        )
    if path.name.lower().endswith(".parquet") and find_spec("pyarrow") is None:
        raise MissingError(
            f"{path} is to be parquet, and pyarrow is not installed", hint="pip install 'mentor-kit[data]'"
        )


def write_rows(path: Path, rows: Iterable[Mapping[str, Json]]) -> int:
    """Write rows into a file, in the format of its name's ending; returns how many there are.

    In parquet, columns whose values differ in form from row to row, such as tools' schemas, have Arrow's type `json`,
    which the Hugging Face library `datasets` loads as the values themselves.

    Args:
        path: the file; one that is there is replaced.
        rows: in order; an error that they raise leaves what was there.

    Raises:
        UsageError, MissingError: see `check_ending`.
        MentorKitError: the file cannot be written.
    """
    check_ending(path)
    writer = _writer(path.name.lower())
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(NEW + path.name)
        try:
            written = writer(temporary, rows)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return written


def json_line(row: Mapping[str, Json]) -> str:
    """Return a row as one line of JSON, without its newline; characters that UTF-8 cannot have are escaped."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(row)
    return line


def _writer(name: str) -> Callable[[Path, Iterable[Mapping[str, Json]]], int]:
    if name.endswith(".parquet"):
        return _write_parquet
    return _write_list if name.endswith(".json") else _write_lines


def _write_lines(path: Path, rows: Iterable[Mapping[str, Json]]) -> int:
    written = 0
    with _opened(path) as stream:
        for row in rows:
            stream.write(json_line(row) + "\n")
            written += 1
    return written


def _write_list(path: Path, rows: Iterable[Mapping[str, Json]]) -> int:
    written = 0
    with _opened(path) as stream:
        for row in rows:
            stream.write((",\n" if written else "[\n") + json_line(row))
            written += 1
        stream.write("\n]\n" if written else "[]\n")
    return written


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if not path.name.lower().endswith(".gz"):
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        return
    # no time and no name in the file, so that the same rows give the same bytes
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        import io

        with io.TextIOWrapper(cast("Any", packed), encoding="utf-8", newline="\n") as stream:
            yield stream


def _write_parquet(path: Path, rows: Iterable[Mapping[str, Json]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    found = list(rows)
    names = list(dict.fromkeys(name for row in found for name in row))
    columns = {name: [row.get(name) for row in found] for name in names}
    parquet.write_table(pa.table({name: _column(values) for name, values in columns.items()}), path)
    return len(found)


def _column(values: Sequence[Json]) -> Any:
    """The values of a column as an Arrow array."""
    import pyarrow as pa

    kind = _kind(values)
    # extension types take no Python values: they are cast from strings
    storage = _with_json(kind, pa.string())
    return pa.array([_encoded(value, kind) for value in values], storage).cast(_with_json(kind, pa.json_()))


#: A column's type: a name of Arrow's, `json`, a list of a type, or a record of types.
_Kind = str | tuple[Any] | dict[str, Any]


def _kind(values: Sequence[Json]) -> _Kind:
    """The type that all values have: lists and records where they agree, else `json`."""
    known = [value for value in values if value is not None]
    if not known:
        return "string"
    if all(isinstance(value, bool) for value in known):
        return "bool"
    if all(isinstance(value, str) for value in known):
        return "string"
    if not any(isinstance(value, bool) for value in known):
        if all(isinstance(value, int) and abs(value) < 2**63 for value in known):
            return "int64"
        if all(isinstance(value, float) for value in known):
            return "double"
    if all(isinstance(value, list) for value in known):
        return (_kind([item for value in known for item in value]),)
    # keys in another order are another text in a prompt
    if all(isinstance(value, dict) and value and [*value] == [*known[0]] for value in known):
        return {name: _kind([value[name] for value in known]) for name in known[0]}
    return "json"


def _encoded(value: Json, kind: _Kind) -> Json:
    """A value with JSON strings where its type has `json`."""
    if value is None:
        return None
    if kind == "json":
        return json.dumps(value, ensure_ascii=False)
    if isinstance(kind, tuple):
        return [_encoded(item, kind[0]) for item in value]
    if isinstance(kind, dict):
        return {name: _encoded(value[name], inner) for name, inner in kind.items()}
    return value


def _with_json(kind: _Kind, json_type: Any) -> Any:
    """The Arrow type of a kind, with a given type for `json`."""
    import pyarrow as pa

    if isinstance(kind, tuple):
        return pa.list_(_with_json(kind[0], json_type))
    if isinstance(kind, dict):
        return pa.struct([(name, _with_json(inner, json_type)) for name, inner in kind.items()])
    return json_type if kind == "json" else getattr(pa, {"double": "float64", "bool": "bool_"}.get(kind, kind))()
