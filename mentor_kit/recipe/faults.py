"""The faults of a recipe in a user's words, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mentor_kit.core.errors import RecipeError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.recipe.source import Path_, Place, Source, located

#: pydantic's phrases, and what they become.
_PHRASES = (
    (r", unable to parse \w+ as an? \w+", ""),
    (r", got a number with a fractional part", ""),
    (r", unable to interpret input", ""),
    (r"^Unable to parse input string as an integer, exceeded maximum size", "must be a whole number of 64 bits"),
    (r"^Input should be a valid dictionary or instance of \w+", "must be a mapping of keys to values"),
    (r"^Input should be a valid dictionary", "must be a mapping of keys to values"),
    (r"^Input should be a valid (tuple|list)", "must be a list"),
    (r"^Input should be a valid string", "must be a string"),
    (r"^Input should be a valid boolean", "must be true or false"),
    (r"^Input should be a valid integer", "must be a whole number"),
    (r"^Input should be a (valid|finite) number", "must be a number"),
    (r"^Input should be", "must be"),
)


@dataclass(frozen=True, order=True)
class Fault:
    """Something that is wrong, and where."""

    place: Place
    text: str

    def __str__(self) -> str:
        return located(self.place, self.text)


def faults_at(source: Source, data: Any, found: list[tuple[Path_, str]], path: Path_ = ()) -> list[Fault]:
    """Faults with their places.

    Args:
        source: where the recipe's values stand.
        data: what was validated.
        found: places inside `data` with messages, as `mentor_kit.hooks.options.explain` gives them.
        path: where `data` stands in the recipe.
    """
    messages: dict[Path_, list[str]] = {}
    for inside, message in _of_best_members(found):
        for pattern, plain in _PHRASES:
            message = re.sub(pattern, plain, message)
        messages.setdefault((*path, *_real_path(data, inside)), []).append(message)
    faults = []
    for where, said in messages.items():
        for message in _one_of_a_union(said):
            place = source.place(where, key=message.startswith("unknown key"))
            faults.append(Fault(place, f"{'.'.join(map(str, where))}: {message}" if where else message))
    return faults


class RecipeFaults(RecipeError):
    """Everything that is wrong with a recipe: a line for each fault, in the order of the file, secrets hidden."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults))
        super().__init__("\n".join(hide(str(fault)) for fault in self.faults))

    def as_data(self) -> dict[str, Json]:
        """The error for programs; `faults` has file (or setting), line and column, and text; no place is "" and 0."""
        faults = [{**vars(fault.place), "text": hide(fault.text)} for fault in self.faults]
        return {**super().as_data(), "error": "RecipeError", "faults": faults}


def _of_best_members(faults: list[tuple[Path_, str]]) -> list[tuple[Path_, str]]:
    """Where a value may be one of several models, the faults of the model it comes closest to."""

    def member(place: Path_) -> tuple[Path_, str] | None:
        found = next((index for index, step in enumerate(place) if isinstance(step, str) and step[:1].isupper()), None)
        return None if found is None else (place[:found], str(place[found]))

    counts: dict[tuple[Path_, str], int] = {}
    for place, _ in faults:
        if (key := member(place)) is not None:
            counts[key] = counts.get(key, 0) + 1

    def is_best(place: Path_) -> bool:
        key = member(place)
        return key is None or key == min((k for k in counts if k[0] == key[0]), key=lambda k: counts[k])

    return [(place, message) for place, message in faults if is_best(place)]


def _one_of_a_union(messages: list[str]) -> list[str]:
    """The messages about one place, those of a value that may be of several types as one."""
    wanted: dict[str, list[str]] = {}
    others = []
    for message in messages:
        if parts := re.fullmatch(r"must be (.+), not (.+?)", message):
            wanted.setdefault(parts[2], []).append(parts[1])
        else:
            others.append(message)
    return others + [f"must be {' or '.join(dict.fromkeys(kinds))}, not {value}" for value, kinds in wanted.items()]


def _real_path(data: Any, place: Path_) -> Path_:
    """The path without the steps that pydantic adds for unions: names of models and types rather than keys."""
    path: list[str | int] = []
    node: Any = data
    for index, step in enumerate(place):
        inside = isinstance(step, int) if isinstance(node, list | tuple) else isinstance(node, dict) and step in node
        if inside:
            node = node[step]
        is_last = index == len(place) - 1
        is_key = isinstance(node, dict) and isinstance(step, str) and not step[:1].isupper() and "[" not in step
        if inside or (is_last and is_key):
            path.append(step)
    return tuple(path)
