"""Looks at data files before a run: whether they are there, can be read, and have the columns that a recipe names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mentor_kit.errors import DataError
from mentor_kit.hooks.looking import file_fault
from mentor_kit.hooks.registry import BuildContext
from mentor_kit_data.authors import AuthorsOptions
from mentor_kit_data.benchmarks import BenchmarksOptions
from mentor_kit_data.rows import BadRow, Row, read_rows
from mentor_kit_data.rows_task import RowsOptions

Faults = Iterator[tuple[tuple[str | int, ...], str]]


def look_at_rows(options: RowsOptions, context: BuildContext) -> Faults:
    """Files that are not there, and columns that the first row of a file lacks."""
    named = options.columns.model_dump(exclude_none=True)
    for place, file, fault in _files(options.files, context.recipe_folder):
        if fault:
            yield place, fault
            continue
        try:
            row = next(read_rows(file), None)
        except DataError as error:
            yield place, error.message
            continue
        # where broken rows are left out, the first one may be one of them
        if row is not None and isinstance(row.values, Mapping) and options.broken == "fail":
            yield from ((("columns", key), fault) for key, fault in _missing_columns(row, named))


def look_at_authors(options: AuthorsOptions, context: BuildContext) -> Faults:
    """Files that are not there."""
    yield from ((place, fault) for place, _, fault in _files(options.files, context.recipe_folder) if fault)


def look_at_benchmarks(options: BenchmarksOptions, context: BuildContext) -> Faults:
    """Files that are not there."""
    for name, file in options.sets.items():
        if fault := file_fault(file, context.recipe_folder):
            yield ("sets", name), fault


def _files(splits: Mapping[str, tuple[str, ...]], folder: Path) -> Iterator[tuple[tuple[str | int, ...], Path, str]]:
    for split, names in splits.items():
        for index, name in enumerate(names):
            yield ("files", split, index), folder / Path(name).expanduser(), file_fault(name, folder)


def _missing_columns(row: Row, named: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, column in named.items():
        try:
            row.get(column)
        except BadRow as bad:
            yield key, f"{row.place}: no column {column!r}: {bad.reason}"
