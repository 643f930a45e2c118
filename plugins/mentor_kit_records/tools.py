"""Five tools that read a problem's tables: look up, filter, count, compare and join.

Each takes names of tables, columns and rows, and returns words: a name, a word, several names with commas, or a number
as a word. A table, column or row that does not exist is a failed call with what there is in its message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import ToolSource
from mentor_kit_records.tables import COLUMNS, MONTHS, Records, Row, Table

#: The key of a problem's `extra` that has its tables.
TABLES = "records"

TableName = Literal["people", "towns", "teams"]
COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class RecordTools:
    """The five tools over one problem's tables."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def look_up(self, table: TableName, row: str, column: str) -> str:
        """Read one value of a row.

        Args:
            table: people (columns town, team, job, joined), towns (mayor, river) or teams (captain, ground, colour).
            row: the row's name, such as a person's.
            column: the column to read.
        """
        return self._row(table, row)[_column(table, column)]

    def filter_rows(self, table: TableName, column: str, value: str) -> str:
        """List the names of all rows that have a value in a column.

        Args:
            table: people (columns town, team, job, joined), towns (mayor, river) or teams (captain, ground, colour).
            column: the column to look at.
            value: the value that the rows have there.
        """
        return ", ".join(self._records.matching(table, _column(table, column), value)) or "nobody"

    def count_rows(self, table: TableName, column: str, value: str) -> str:
        """Count the rows that have a value in a column; the number is a word.

        Args:
            table: people (columns town, team, job, joined), towns (mayor, river) or teams (captain, ground, colour).
            column: the column to look at.
            value: the value that the rows have there.
        """
        return COUNTS[len(self._records.matching(table, _column(table, column), value))]

    def compare_rows(self, table: TableName, first: str, second: str, column: str) -> str:
        """Tell which of two rows comes first by a column: by the calendar for months, else by the alphabet.

        Args:
            table: people (columns town, team, job, joined), towns (mayor, river) or teams (captain, ground, colour).
            first: the name of a row.
            second: the name of another row.
            column: the column to compare.
        """
        name = _column(table, column)
        ranked = [(_rank(self._row(table, row)[name]), row) for row in (first, second)]
        return min(ranked, key=lambda pair: pair[0])[1]

    def join_rows(self, table: TableName, row: str, column: str, then: str) -> str:
        """Follow a column of a row to another table, and read a column there.

        Args:
            table: people (columns town, team, job, joined), towns (mayor, river) or teams (captain, ground, colour).
            row: the name of the row to start from.
            column: the column that names a row of another table: town, team, mayor, captain or ground.
            then: the column of that other table to read.
        """
        name = _column(table, column)
        other = COLUMNS[table][name]
        if other is None:
            leading = ", ".join(key for key, target in COLUMNS[table].items() if target is not None)
            raise ToolError(f"the column {name} of {table} names no rows of another table; these do: {leading}")
        return self._row(other, self._row(table, row)[name])[_column(other, then)]

    def _row(self, table: Table, name: str) -> Row:
        rows = self._records.table(table)
        if name not in rows:
            raise ToolError(f"no row {name!r} in {table}; there are {', '.join(sorted(rows))}")
        return rows[name]


class RecordToolSource(ToolSource):
    """Offers the tools for problems with tables, and none for others."""

    def __init__(self) -> None:
        self._tools = tuple(Tool.from_function(function) for function in functions(RecordTools(_NOTHING)).values())

    def tools(self, problem: Problem) -> Sequence[Tool]:
        return self._tools if TABLES in problem.extra else ()

    @asynccontextmanager
    async def open(self, problem: Problem, seed: int) -> AsyncIterator[RecordSession]:
        yield RecordSession(records_of(problem))


class RecordSession:
    """The tools of one episode."""

    def __init__(self, records: Records) -> None:
        self._functions = functions(RecordTools(records))

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Any:
        return self._functions[name](**arguments)


_NOTHING = Records(people={}, towns={}, teams={})


def functions(tools: RecordTools) -> dict[str, Any]:
    """The tools by their names."""
    found = (tools.look_up, tools.filter_rows, tools.count_rows, tools.compare_rows, tools.join_rows)
    return {function.__name__: function for function in found}


def records_of(problem: Problem) -> Records:
    """A problem's tables; empty ones for a problem of another task."""
    return Records.model_validate(problem.extra[TABLES]) if TABLES in problem.extra else _NOTHING


def _column(table: Table, name: str) -> str:
    if name not in COLUMNS[table]:
        raise ToolError(f"no column {name!r} in {table}; there are {', '.join(COLUMNS[table])}")
    return name


def _rank(value: str) -> tuple[int, str]:
    return (MONTHS.index(value), "") if value in MONTHS else (len(MONTHS), value)
