"""Errors of plugins' parts while a recipe is at work, with where the part stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import MentorKitError
from mentor_kit.hooks.blame import blamed
from mentor_kit.hooks.registry import Component, Registry
from mentor_kit.recipe.checking import all_slots
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_


@contextmanager
def attributed(loaded: LoadedRecipe, registry: Registry) -> Iterator[None]:
    """Turns an unexpected error of a plugin's part into one that names the plugin, the part and its place.

    Raises:
        PluginError: a part of a plugin that is not built in failed; the error it raised is the cause.
    """
    try:
        yield
    except MentorKitError:
        raise
    except (Exception, SystemExit) as error:
        found = blamed(error, registry, lambda part, slot: _place(loaded, registry, part, slot))
        if found is None:
            raise
        raise found from error


def _place(loaded: LoadedRecipe, registry: Registry, part: Component, slot: ComponentSpec) -> str:
    """File, line and column of a part's slot, and its path; the reward's for a term that a preset has."""
    known = [(found, path) for kind, found, path in all_slots(loaded.recipe, registry) if kind == part.kind]
    same = [path for found, path in known if found is slot] or [path for found, path in known if found == slot]
    path: Path_ | None = next(iter(same), ("reward",) if part.kind == "reward_terms" else None)
    return "" if path is None else f"{loaded.source.place(path)}: {'.'.join(map(str, path))}"
