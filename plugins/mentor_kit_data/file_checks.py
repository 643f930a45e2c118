"""Checks data files before a run: whether they exist, are readable, and have the named columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from mentor_kit.core.errors import DataError
from mentor_kit.hooks.references import file_fault
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.runs.rows import BadRow, DataRow, read_rows
from mentor_kit_data.authors import AuthorsOptions
from mentor_kit_data.benchmarks import BenchmarksOptions
from mentor_kit_data.conversation_options import ConversationsOptions
from mentor_kit_data.conversation_problems import DialogueProblems, known_formats, with_format
from mentor_kit_data.files import matching, split_files
from mentor_kit_data.keys import KeyRule
from mentor_kit_data.rows_task import ColumnProblems, RowsOptions

#: How many rows of a file are looked at before a run.
_LOOKED_AT = 10

Place = tuple[str | int, ...]
Faults = Iterator[tuple[Place, str]]


def look_at_rows(options: RowsOptions, context: BuildContext) -> Faults:
    """Yield missing files, files that serve twice, columns that the first row lacks, a key that nothing matches."""
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
        if row is None and len(options.files[str(place[1])]) == 1:
            yield place, f"{file} has no rows"
        # where broken rows are left out, the first one may be one of them
        if row is not None and isinstance(row.values, Mapping) and options.broken == "fail":
            missing = [(("columns", key), fault) for key, fault in _missing_columns(row, named)]
            yield from missing or _broken_row(row, place, options)


def look_at_conversations(options: ConversationsOptions, context: BuildContext) -> Faults:
    """Yield missing files, files that serve twice, an unknown format, and a first row that cannot be used."""
    try:
        formats = known_formats(options.format, context)
    except DataError as error:
        yield ("format",), f"{error.message}; {error.hint}"
        return
    for place, file, fault in _files(options.files, context.recipe_folder):
        if fault:
            yield place, fault
            continue
        try:
            row = next(with_format(itertools.islice(read_rows(file), _LOOKED_AT), formats, options.format), None)
            if row is None and len(options.files[str(place[1])]) == 1:
                yield place, f"{file} has no rows"
            if row is not None and options.broken == "fail":
                _check_dialogue(row, options)
        except DataError as error:
            yield place, f"{error.message}; {error.hint}" if error.hint else error.message


def _check_dialogue(row: DataRow, options: ConversationsOptions) -> None:
    """Raises `DataError` where no problem can be made of a row."""
    try:
        DialogueProblems(options)(row, "")
    except BadRow as bad:
        raise row.fault(bad) from None


def look_at_authors(options: AuthorsOptions, context: BuildContext) -> Faults:
    """Yield faults: missing files, and files that serve twice."""
    yield from ((place, fault) for place, _, fault in _files(options.files, context.recipe_folder) if fault)


def look_at_benchmarks(options: BenchmarksOptions, context: BuildContext) -> Faults:
    """Yield faults: missing files."""
    for name, file in options.sets.items():
        if fault := file_fault(file, context.recipe_folder):
            yield ("sets", name), fault


def _files(splits: Mapping[str, tuple[str, ...]], folder: Path) -> Iterator[tuple[Place, Path, str]]:
    """Yield every file with its place and its fault."""
    faults = []
    for split, names in splits.items():
        for index, name in enumerate(names):
            place = ("files", split, index)
            try:
                found = [(path, file_fault(path, folder)) for path in matching(name, folder)]
            except DataError as error:
                found = [(folder / name, error.message)]
            faults += [fault for _, fault in found]
            yield from ((place, path, fault) for path, fault in found)
    try:
        split_files(splits, folder)
    except DataError as error:
        if not any(faults):
            yield ("files",), folder, f"{error.message}; {error.hint}"


def _broken_row(row: DataRow, place: Place, options: RowsOptions) -> Faults:
    try:
        KeyRule(options, options.columns.answer).examine(ColumnProblems(options)(row, ""))
    except BadRow as bad:
        fault = row.fault(bad)
        yield place, f"{fault.message}; {fault.hint}"


def _missing_columns(row: DataRow, named: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, column in named.items():
        try:
            row.get(column)
        except BadRow as bad:
            yield key, f"{row.place}: no column {column!r}: {bad.reason}"
