"""The faults of a recipe in a user's words, each with its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mentor_kit.core.errors import RecipeError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.recipe.source import Path_, Place, Source, located


@dataclass(frozen=True, order=True)
class Fault:
    """Something that is wrong, and where."""

    place: Place
    text: str

    def __str__(self) -> str:
        return located(self.place, self.text)


def faults_at(source: Source, found: Iterable[tuple[Path_, str]], path: Path_ = ()) -> list[Fault]:
    """Faults with their places.

    Args:
        source: where the recipe's values stand.
        found: places with messages.
        path: where in the recipe these places begin.
    """
    faults = []
    for inside, message in found:
        where = (*path, *inside)
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
