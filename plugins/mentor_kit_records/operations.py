"""What a clause of a question does: one call of a tool that leads from a row to another row, or to words that end it.

    town: people ──look_up──> towns        residents: towns ──filter_rows──> names (an end)

`OPERATIONS` has each with its wordings: two of training and two others, which are asked out of domain alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit_records.tables import Records, Table
from mentor_kit_records.tools import RecordTools, functions


@dataclass(frozen=True)
class Operation:
    """One kind of step; `{x}` in a wording is the operand."""

    takes: Table
    """The table of the row it starts from."""
    gives: Table | None
    """The table of the row it leads to; None where it ends in words."""
    tool: str
    fixed: Mapping[str, str]
    """The call's arguments that are the same in each question."""
    value: str
    """The argument that is the row reached so far."""
    known: tuple[str, str]
    other: tuple[str, str]
    operand: str = ""
    """The argument that is the operand, a row of the same table; empty for none."""

    def arguments(self, value: str, operand: str = "") -> dict[str, str]:
        """The call's arguments on a row, in the tool's order."""
        given = {**self.fixed, self.value: value} | ({self.operand: operand} if self.operand else {})
        return {name: given[name] for name in PARAMETERS[self.tool]}


class RecordStep(FrozenModel):
    """One operation of a question, and where it leads."""

    operation: str
    operand: str = ""
    value: str


#: The parameters of each tool, in order.
PARAMETERS = {
    "look_up": ("table", "row", "column"),
    "filter_rows": ("table", "column", "value"),
    "count_rows": ("table", "column", "value"),
    "compare_rows": ("table", "first", "second", "column"),
    "join_rows": ("table", "row", "column", "then"),
}


def result(records: Records, operation: str, value: str, operand: str = "") -> str:
    """What an operation makes of a row.

    Raises:
        ToolError: the row is not there.
    """
    chosen = OPERATIONS[operation]
    found: str = functions(RecordTools(records))[chosen.tool](**chosen.arguments(value, operand))
    return found


def _look_up(
    table: Table, column: str, gives: Table | None, known: tuple[str, str], other: tuple[str, str]
) -> Operation:
    return Operation(table, gives, "look_up", {"table": table, "column": column}, "row", known, other)


def _matching(tool: str, takes: Table, column: str, known: tuple[str, str], other: tuple[str, str]) -> Operation:
    return Operation(takes, None, tool, {"table": "people", "column": column}, "value", known, other)


def _join(column: str, then: str, gives: Table | None, known: tuple[str, str], other: tuple[str, str]) -> Operation:
    fixed = {"table": "people", "column": column, "then": then}
    return Operation("people", gives, "join_rows", fixed, "row", known, other)


_filter, _count = partial(_matching, "filter_rows"), partial(_matching, "count_rows")

OPERATIONS: dict[str, Operation] = {
    "town": _look_up(
        "people", "town", "towns",
        ("Find the town where they live.", "Go to their home town."),
        ("See which place is their home.", "Look for the town they come home to."),
    ),
    "team": _look_up(
        "people", "team", "teams",
        ("Find the team they play for.", "Go to their team."),
        ("See whose shirt they wear.", "Look for the side they belong to."),
    ),
    "job": _look_up(
        "people", "job", None,
        ("Find the job they have.", "Say what their job is."),
        ("See what they work as.", "Tell how they earn a living."),
    ),
    "earlier": Operation(
        "people", "people", "compare_rows", {"table": "people", "column": "joined"}, "first",
        ("Of them and {x}, take the one who joined first.", "Keep whoever joined before the other, they or {x}."),
        ("Weigh them against {x} and keep the older member.", "Choose between them and {x} by the earlier month."),
        operand="second",
    ),
    "mayor_at_home": _join(
        "town", "mayor", "people",
        ("Find the mayor of the town where they live.", "Go to the mayor of their home town."),
        ("See who governs the place they live in.", "Look for the head of the town they come home to."),
    ),
    "colour": _join(
        "team", "colour", None,
        ("Find the colour of the team they play for.", "Say the colour of their team."),
        ("See what colour their side wears.", "Tell how the shirt they wear looks."),
    ),
    "mayor": _look_up(
        "towns", "mayor", "people",
        ("Find its mayor.", "Go to the mayor of that town."),
        ("See who governs it.", "Look for the head of that place."),
    ),
    "river": _look_up(
        "towns", "river", None,
        ("Find the river it lies on.", "Say which river flows there."),
        ("See what water runs through it.", "Tell the name of its stream."),
    ),
    "residents": _filter(
        "towns", "town",
        ("List everybody who lives there.", "Name all its people."),
        ("See who has a home in it.", "Gather those with a house there."),
    ),
    "count_residents": _count(
        "towns", "town",
        ("Count the people who live there.", "Say how many live in it."),
        ("See how large its crowd is.", "Tell the number of its inhabitants."),
    ),
    "captain": _look_up(
        "teams", "captain", "people",
        ("Find its captain.", "Go to the captain of that team."),
        ("See who leads it.", "Look for the head of that side."),
    ),
    "ground": _look_up(
        "teams", "ground", "towns",
        ("Find the town it plays in.", "Go to the town of its ground."),
        ("See where its matches are held.", "Look for the place of its home games."),
    ),
    "members": _filter(
        "teams", "team",
        ("List everybody who plays for it.", "Name all its players."),
        ("See who wears its shirt.", "Gather those on that side."),
    ),
    "count_members": _count(
        "teams", "team",
        ("Count its players.", "Say how many play for it."),
        ("See how large the squad is.", "Tell the number of its members."),
    ),
}  # fmt: skip

OPENING = "Take {start}."
ENDING = "What do the records say?"
