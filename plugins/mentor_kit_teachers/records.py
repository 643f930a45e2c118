"""Reads recorded demonstrations: our own JSON lines, and the parquet format of MENTOR's authors.

A parquet row has `question`, `data_source`, `reward_model{ground_truth, style}` and
`extra_info{func_schemas, env, tool_calls_used, index}`. It keeps the names of the tools that the teacher
used and nothing else of the trajectory, and only problems the teacher solved are in such a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.rows import parquet_libraries

DEMONSTRATIONS = "demonstrations.jsonl"

_PARQUET_MAGIC = b"PAR1"
_PARQUET_COLUMNS = ("question", "data_source", "extra_info")
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Recording:
    """A demonstration with its origin."""

    demonstration: Demonstration
    question: str | None
    """The question it answers; None where the file does not say."""
    place: str
    """`file:line`, or `file, row n` of a parquet file; for messages."""


def read_recordings(path: Path) -> list[Recording]:
    """All recordings of a file, or of a run folder's demonstrations.jsonl, in order.

    Raises:
        DataError: there is no such file, it holds no demonstrations, or a row is broken; names file, row and column.
        MissingError: the file is parquet, and pyarrow is not installed.
    """
    is_run = path.is_dir()
    file = path / DEMONSTRATIONS if is_run else path
    shown = f"{path.name}/{DEMONSTRATIONS}" if is_run else path.name
    try:
        with file.open("rb") as stream:
            is_parquet = stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        found = list(_parquet(file) if is_parquet else _json_lines(file, shown))
    except FileNotFoundError:
        raise DataError(
            f"there is no file of demonstrations {file}", hint="`teacher.with.path` is relative to the recipe's folder"
        ) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    if not found:
        raise DataError(f"{file} holds no demonstrations", hint="`mentorkit collect RECIPE` writes them")
    return found


def _json_lines(file: Path, shown: str) -> Iterator[Recording]:
    for row, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            demonstration = Demonstration.from_json(line)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            column = ".".join(map(str, fault["loc"])) or "the whole line"
            raise _broken(f"{file}:{row}", column, fault["msg"]) from None
        # where it was taken from before, it is not read from now
        known = {key: value for key, value in demonstration.provenance.items() if key != "row"}
        placed = demonstration.model_copy(update={"provenance": {**known, "file": shown, "line": row}})
        yield Recording(placed, _question(placed), f"{file}:{row}")


def _question(demonstration: Demonstration) -> str | None:
    """The question that was worked on, where the dialogue was kept: the first of the user's after what went before."""
    if demonstration.trajectory is None:
        return None
    messages = demonstration.trajectory.messages[max(0, demonstration.trajectory.opening - 1) :]
    return next((message.content for message in messages if message.role == "user"), None)


def _parquet(file: Path) -> Iterator[Recording]:
    arrow, parquet = parquet_libraries(file)
    try:
        with parquet.ParquetFile(file) as table:
            _check_columns(file, table.schema_arrow.names)
            row = 0
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=list(_PARQUET_COLUMNS)):
                for values in batch.to_pylist():
                    row += 1
                    yield _parquet_row(file, row, values)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a readable parquet file: {error}", hint="copy it again") from error


def _check_columns(file: Path, names: list[str]) -> None:
    for column in _PARQUET_COLUMNS:
        if column not in names:
            raise DataError(
                f"{file} has no column {column!r}; its columns are: {', '.join(names)}",
                hint="the MENTOR authors' format has question, data_source, reward_model and extra_info",
            )


def _parquet_row(file: Path, row: int, values: Mapping[str, Any]) -> Recording:
    question = values["question"]
    if not isinstance(question, str) or not question.strip():
        raise _broken(f"{file}, row {row}", "question", f"expected a text, found {question!r}")
    extra = values["extra_info"]
    if not isinstance(extra, Mapping):
        raise _broken(f"{file}, row {row}", "extra_info", f"expected a record, found {extra!r}")
    index = extra.get("index")
    if not isinstance(index, int | str):
        raise _broken(f"{file}, row {row}", "extra_info.index", f"expected a number or a text, found {index!r}")
    tools = extra.get("tool_calls_used")
    if not isinstance(tools, list) or not all(isinstance(name, str) and name for name in tools):
        raise _broken(
            f"{file}, row {row}", "extra_info.tool_calls_used", f"expected a list of tool names, found {tools!r}"
        )
    provenance: dict[str, Json] = {"file": file.name, "row": row, "data_source": values["data_source"]}
    demonstration = Demonstration(
        problem_id=str(index), teacher="recorded", tools_used=tuple(tools), provenance=provenance
    )
    return Recording(demonstration, question, f"{file}, row {row}")


def _broken(place: str, column: str, reason: str) -> DataError:
    shown = reason if len(reason) <= 200 else reason[:197] + "..."
    return DataError(f"{place}, column {column}: {shown}", hint="mend the row, or take it out of the file")
