"""Three small tables of made-up people, towns and teams: the records that questions are about.

    people   town ──> towns     team ──> teams     job          joined (a month, different for everybody)
    towns    mayor ──> people   river
    teams    captain ──> people  ground ──> towns  colour

A row is known by its name. A column's values are names of another table's rows where the arrow says so, else words.
Every problem has tables of its own, so nothing about them can be learned by heart.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Literal

from mentor_kit.core.frozen_model import FrozenModel

Table = Literal["people", "towns", "teams"]
Row = Mapping[str, str]

#: The columns of each table; the table whose rows a column names, None for plain words.
COLUMNS: dict[Table, dict[str, Table | None]] = {
    "people": {"town": "towns", "team": "teams", "job": None, "joined": None},
    "towns": {"mayor": "people", "river": None},
    "teams": {"captain": "people", "ground": "towns", "colour": None},
}

NAMES: dict[Table, tuple[str, ...]] = {
    "people": (
        *("Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Henry", "Irene", "Jonas"),
        *("Karin", "Lucas", "Maria", "Nils", "Olga", "Peter", "Rosa", "Simon", "Tessa", "Victor"),
    ),
    "towns": ("Ashton", "Barlow", "Corby", "Dunmore", "Elmwood", "Farley", "Halden", "Kendal", "Linton", "Morley"),
    "teams": ("Badgers", "Falcons", "Foxes", "Herons", "Hornets", "Otters", "Ravens", "Wolves"),
}
WORDS: dict[str, tuple[str, ...]] = {
    "job": ("baker", "driver", "farmer", "nurse", "painter", "sailor", "singer", "teacher"),
    "river": ("Avon", "Derwent", "Mersey", "Severn", "Tamar", "Trent", "Tweed"),
    "colour": ("blue", "green", "orange", "purple", "red", "yellow"),
}
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
#: Rows of each table in a problem.
SIZES: dict[Table, int] = {"people": 9, "towns": 4, "teams": 3}


class Records(FrozenModel):
    """The three tables of one problem: a row's values by its name."""

    people: dict[str, dict[str, str]]
    towns: dict[str, dict[str, str]]
    teams: dict[str, dict[str, str]]

    def table(self, name: Table) -> Mapping[str, Row]:
        """The rows of a table by their names."""
        found: dict[Table, Mapping[str, Row]] = {"people": self.people, "towns": self.towns, "teams": self.teams}
        return found[name]

    def matching(self, table: Table, column: str, value: str) -> list[str]:
        """The names of the rows with this value in a column, in alphabetical order."""
        return sorted(name for name, row in self.table(table).items() if row[column] == value)


def draw_records(chance: random.Random) -> Records:
    """New tables; each town and team has somebody, and everybody joined in another month."""
    people, towns, teams = (chance.sample(NAMES[table], SIZES[table]) for table in ("people", "towns", "teams"))
    homes, sides = _spread(towns, len(people), chance), _spread(teams, len(people), chance)
    months = chance.sample(MONTHS, len(people))
    return Records(
        people={
            name: {"town": home, "team": side, "job": chance.choice(WORDS["job"]), "joined": month}
            for name, home, side, month in zip(people, homes, sides, months, strict=True)
        },
        towns={
            name: {"mayor": mayor, "river": chance.choice(WORDS["river"])}
            for name, mayor in zip(towns, chance.sample(people, len(towns)), strict=True)
        },
        teams={
            name: {"captain": captain, "ground": chance.choice(towns), "colour": colour}
            for name, captain, colour in zip(
                teams, chance.sample(people, len(teams)), chance.sample(WORDS["colour"], len(teams)), strict=True
            )
        },
    )


def _spread(names: Sequence[str], count: int, chance: random.Random) -> list[str]:
    """`count` of the names in any order, each at least once."""
    found = [*names, *(chance.choice(names) for _ in range(count - len(names)))]
    chance.shuffle(found)
    return found
