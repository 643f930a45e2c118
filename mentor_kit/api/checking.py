"""Checks a recipe before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.core.errors import ExitCode
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.assembly import serve
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.loading import LoadedRecipe, RecipeLike
from mentor_kit.recipe.python_values import NO_OVERRIDES


@checked_arguments
def check(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    look: bool = True,
    registry: Registry | None = None,
) -> LoadedRecipe:
    """Load a recipe and check every name and option in it; nothing heavy is imported.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        look: also look for what the recipe names on this machine: files and their columns, modules and their functions,
            commands, folders of models.
        registry: as for `run`.

    Raises:
        RecipeError: the recipe is wrong; the message has every fault, with file, line and column where it has a file.
        UsageError: `recipe` or `overrides` are of another type.
    """
    return load_checked(recipe, overrides, registry or default_registry(), look=look)


def load_served(recipe: RecipeLike, registry: Registry, overrides: Mapping[str, Any] = NO_OVERRIDES) -> LoadedRecipe:
    """The checked recipe, in the process that acts on it.

    Where a launcher started several processes, all but the first serve that one here, and end with it.

    Raises:
        SystemExit: this process has served.
    """
    loaded = check(recipe, overrides=overrides, registry=registry)
    if serve(loaded, registry):
        raise SystemExit(ExitCode.DONE)
    return loaded
