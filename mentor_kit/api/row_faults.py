"""Groups what is wrong with many rows, so that one line stands for rows with the same fault."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mentor_kit.core.frozen_model import Json
from mentor_kit.runs.dialogue_rows import RowFault

#: How many places of a group are named.
NAMED = 3
#: How many groups are shown as lines.
SHOWN = 10


@dataclass(frozen=True)
class FaultGroup:
    """Rows with the same fault."""

    column: str
    """The column at fault, with `*` for the numbers of entries; empty for the whole row."""
    first_column: str
    """The column at fault in the first of the rows."""
    reason: str
    """What is wrong with the first of the rows."""
    hint: str
    rows: int
    places: tuple[str, ...]
    """The first rows."""

    def as_data(self) -> dict[str, Json]:
        """Return the group for programs."""
        return {"column": self.column, "reason": self.reason, "rows": self.rows, "places": list(self.places)}

    def text(self) -> str:
        """Return the group as one line."""
        named = self.first_column if self.rows == 1 else self.column
        column = f"column {named}: " if named else ""
        more = f" and {self.rows - len(self.places):,} more" if self.rows > len(self.places) else ""
        return f"{column}{self.reason} ({_joined(self.places)}{more})"


class FaultGroups:
    """Collects faults of rows by column and reason."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], RowFault] = {}
        self._places: dict[tuple[str, str], list[str]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, fault: RowFault) -> None:
        """Add a row's fault."""
        key = (_without_numbers(fault.column), _general(fault.reason))
        self._first.setdefault(key, fault)
        self._counts[key] = self._counts.get(key, 0) + 1
        places = self._places.setdefault(key, [])
        if len(places) < NAMED:
            places.append(fault.place)

    def groups(self) -> tuple[FaultGroup, ...]:
        """Return the groups, those of most rows first."""
        found = [
            FaultGroup(
                key[0],
                first.column,
                first.reason,
                first.hint,
                self._counts[key],
                tuple(self._places[key]),
            )
            for key, first in self._first.items()
        ]
        return tuple(sorted(found, key=lambda group: -group.rows))


def total(groups: Iterable[FaultGroup]) -> int:
    """Return how many rows the groups have."""
    return sum(group.rows for group in groups)


def counted_rows(count: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if count == 1 else f"{count:,} rows"


def left_out_lines(groups: Sequence[FaultGroup]) -> list[str]:
    """Return lines about rows that are left out; none where there are none."""
    if not groups:
        return []
    return [f"left out: {counted_rows(total(groups))}", *group_lines(groups)]


def group_lines(groups: Sequence[FaultGroup]) -> list[str]:
    """Return a line for each of the largest groups, and one that counts the others."""
    others = groups[SHOWN:]
    more = [f"  {len(others)} more reasons, of {counted_rows(total(others))}"] if others else []
    return [*(f"  {group.text()}" for group in groups[:SHOWN]), *more]


def _joined(places: Sequence[str]) -> str:
    """Places one after another; the name of a file that they share stands once."""
    file, row, _ = places[0].rpartition(", row ")
    numbers = [place.removeprefix(f"{file}{row}") for place in places]
    if len(places) < 2 or not row or not all(number.isdecimal() for number in numbers):
        return "; ".join(places)
    return f"{file}, rows {', '.join(numbers)}"


def _without_numbers(column: str) -> str:
    """A column with `*` for the numbers of entries: `messages.*.content`."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", column)


def _general(reason: str) -> str:
    """A reason without the values in it: what was found, and what stands in quotation marks."""
    general = re.split(r"[,;] found |: ", reason, maxsplit=1)[0]
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "*", general)
