"""Reads questions about records from their text alone, and works them out on plain dictionaries."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Tables = dict[str, dict[str, dict[str, str]]]

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def by_month(tables: Tables, first: str, second: str) -> str:
    people = tables["people"]
    return min(first, second, key=lambda name: MONTHS.index(people[name]["joined"]))


def those(tables: Tables, column: str, value: str) -> list[str]:
    return sorted(name for name, row in tables["people"].items() if row[column] == value)


#: What each clause means: a pattern, the tool that it asks for, and the answer on the tables.
CLAUSES: list[tuple[str, str, Callable[[Tables, str, str], str]]] = [
    (r"Find the town where they live\.|Go to their home town\.|See which place is their home\.|"
     r"Look for the town they come home to\.", "look_up", lambda t, v, x: t["people"][v]["town"]),
    (r"Find the team they play for\.|Go to their team\.|See whose shirt they wear\.|"
     r"Look for the side they belong to\.", "look_up", lambda t, v, x: t["people"][v]["team"]),
    (r"Find the job they have\.|Say what their job is\.|See what they work as\.|Tell how they earn a living\.",
     "look_up", lambda t, v, x: t["people"][v]["job"]),
    (r"Of them and (\w+), take the one who joined first\.|Keep whoever joined before the other, they or (\w+)\.|"
     r"Weigh them against (\w+) and keep the older member\.|Choose between them and (\w+) by the earlier month\.",
     "compare_rows", by_month),
    (r"Find the mayor of the town where they live\.|Go to the mayor of their home town\.|"
     r"See who governs the place they live in\.|Look for the head of the town they come home to\.",
     "join_rows", lambda t, v, x: t["towns"][t["people"][v]["town"]]["mayor"]),
    (r"Find the colour of the team they play for\.|Say the colour of their team\.|See what colour their side wears\.|"
     r"Tell how the shirt they wear looks\.", "join_rows",
     lambda t, v, x: t["teams"][t["people"][v]["team"]]["colour"]),
    (r"Find its mayor\.|Go to the mayor of that town\.|See who governs it\.|Look for the head of that place\.",
     "look_up", lambda t, v, x: t["towns"][v]["mayor"]),
    (r"Find the river it lies on\.|Say which river flows there\.|See what water runs through it\.|"
     r"Tell the name of its stream\.", "look_up", lambda t, v, x: t["towns"][v]["river"]),
    (r"List everybody who lives there\.|Name all its people\.|See who has a home in it\.|"
     r"Gather those with a house there\.", "filter_rows", lambda t, v, x: ", ".join(those(t, "town", v))),
    (r"Count the people who live there\.|Say how many live in it\.|See how large its crowd is\.|"
     r"Tell the number of its inhabitants\.", "count_rows", lambda t, v, x: NUMBERS[len(those(t, "town", v))]),
    (r"Find its captain\.|Go to the captain of that team\.|See who leads it\.|Look for the head of that side\.",
     "look_up", lambda t, v, x: t["teams"][v]["captain"]),
    (r"Find the town it plays in\.|Go to the town of its ground\.|See where its matches are held\.|"
     r"Look for the place of its home games\.", "look_up", lambda t, v, x: t["teams"][v]["ground"]),
    (r"List everybody who plays for it\.|Name all its players\.|See who wears its shirt\.|Gather those on that side\.",
     "filter_rows", lambda t, v, x: ", ".join(those(t, "team", v))),
    (r"Count its players\.|Say how many play for it\.|See how large the squad is\.|Tell the number of its members\.",
     "count_rows", lambda t, v, x: NUMBERS[len(those(t, "team", v))]),
]  # fmt: skip


@dataclass(frozen=True)
class Clause:
    kind: int
    tool: str
    known: bool
    """Whether the wording is one of training."""
    operand: str


@dataclass(frozen=True)
class Question:
    start: str
    clauses: tuple[Clause, ...]

    @property
    def kinds(self) -> tuple[int, ...]:
        return tuple(clause.kind for clause in self.clauses)

    def answer(self, tables: Any) -> str:
        value = self.start
        for clause in self.clauses:
            value = CLAUSES[clause.kind][2](tables, value, clause.operand)
        return value


def read(text: str) -> Question:
    found = re.fullmatch(r"Take (\w+)\. (.*) What do the records say\?", text)
    assert found is not None, text
    sentences = re.findall(r"[^.]+\.", found[2])
    return Question(found[1], tuple(_clause(sentence.strip()) for sentence in sentences))


def _clause(sentence: str) -> Clause:
    for kind, (pattern, tool, _) in enumerate(CLAUSES):
        if match := re.fullmatch(pattern, sentence):
            which = next(n for n, part in enumerate(pattern.split("|")) if re.fullmatch(part, sentence))
            return Clause(kind, tool, which < 2, next((group for group in match.groups() if group), ""))
    raise AssertionError(sentence)
