"""The five tools, on tables written by hand and on drawn ones."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from mentor_kit_records.tables import COLUMNS, Records, draw_records
from mentor_kit_records.tools import TABLES, RecordToolSource

from mentor_kit.core.task import Problem
from mentor_kit.core.tool import ToolError
from mentor_kit.core.toolbox import Toolbox

HAND = {
    "people": {
        "Anna": {"town": "Corby", "team": "Foxes", "job": "nurse", "joined": "May"},
        "Boris": {"town": "Corby", "team": "Wolves", "job": "baker", "joined": "April"},
        "Clara": {"town": "Linton", "team": "Foxes", "job": "nurse", "joined": "January"},
    },
    "towns": {"Corby": {"mayor": "Clara", "river": "Avon"}, "Linton": {"mayor": "Anna", "river": "Trent"}},
    "teams": {
        "Foxes": {"captain": "Clara", "ground": "Corby", "colour": "red"},
        "Wolves": {"captain": "Boris", "ground": "Linton", "colour": "blue"},
    },
}
PROBLEM = Problem(id="hand", question="?", answer="!", extra={TABLES: HAND})


def run(name: str, /, problem: Problem = PROBLEM, **arguments: Any) -> Any:
    async def call() -> Any:
        async with Toolbox([RecordToolSource()]).open(problem, 0) as session:
            return await session.call(name, arguments)

    return asyncio.run(call())


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("look_up", {"table": "people", "row": "Anna", "column": "joined"}, "May"),
        ("look_up", {"table": "teams", "row": "Wolves", "column": "ground"}, "Linton"),
        ("filter_rows", {"table": "people", "column": "job", "value": "nurse"}, "Anna, Clara"),
        ("filter_rows", {"table": "people", "column": "job", "value": "pilot"}, "nobody"),
        ("filter_rows", {"table": "towns", "column": "river", "value": "Avon"}, "Corby"),
        ("count_rows", {"table": "people", "column": "town", "value": "Corby"}, "two"),
        ("count_rows", {"table": "people", "column": "town", "value": "Rome"}, "none"),
        ("compare_rows", {"table": "people", "first": "Anna", "second": "Boris", "column": "joined"}, "Boris"),
        ("compare_rows", {"table": "people", "first": "Anna", "second": "Boris", "column": "job"}, "Boris"),
        ("compare_rows", {"table": "people", "first": "Anna", "second": "Clara", "column": "job"}, "Anna"),
        ("join_rows", {"table": "people", "row": "Anna", "column": "town", "then": "mayor"}, "Clara"),
        ("join_rows", {"table": "towns", "row": "Linton", "column": "mayor", "then": "job"}, "nurse"),
    ],
)
def test_values(name: str, arguments: dict[str, str], value: str) -> None:
    assert run(name, **arguments) == value


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("look_up", {"table": "people", "row": "Zoe", "column": "town"}, "Anna, Boris, Clara"),
        ("look_up", {"table": "people", "row": "Anna", "column": "river"}, "town, team, job, joined"),
        ("join_rows", {"table": "people", "row": "Anna", "column": "job", "then": "mayor"}, "town, team"),
        ("join_rows", {"table": "people", "row": "Anna", "column": "town", "then": "job"}, "mayor, river"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(name: str, arguments: dict[str, str], said: str) -> None:
    with pytest.raises(ToolError, match=said):
        run(name, **arguments)


def test_problems_of_other_tasks_get_no_tools() -> None:
    other = Problem(id="other", question="1 + 1?", answer="2")
    assert Toolbox([RecordToolSource()]).tools(other) == {}


def test_tools_say_what_tables_and_columns_there_are() -> None:
    for tool in RecordToolSource().tools(PROBLEM):
        assert tool.parameters["properties"]["table"]["enum"] == list(COLUMNS)
        for columns in COLUMNS.values():
            assert all(column in str(tool.parameters["properties"]["table"]) for column in columns)


@pytest.mark.parametrize("seed", range(20))
def test_drawn_tables_hold_together(seed: int) -> None:
    records: Records = draw_records(random.Random(seed))
    for table, columns in COLUMNS.items():
        for row in records.table(table).values():
            assert set(row) == set(columns)
            for column, target in columns.items():
                assert target is None or row[column] in records.table(target)
    assert len({row["joined"] for row in records.people.values()}) == len(records.people)
    assert {row["town"] for row in records.people.values()} == set(records.towns)
    assert {row["team"] for row in records.people.values()} == set(records.teams)
