"""Benchmarks a recipe on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import load_served
from mentor_kit.benchmark import Bench
from mentor_kit.benchmark import bench as bench_recipe
from mentor_kit.core.posix import require_posix
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.recipe.python_values import NO_OVERRIDES


@checked_arguments
def bench(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    steps: int = 3,
    registry: Registry | None = None,
) -> Bench:
    """Run a few steps of each training stage and time them; nothing is kept.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        steps: how many steps of each stage, after one to warm up.
        registry: as for `run`.

    Raises:
        UsageError: there is nothing to time.
        RecipeError: the recipe is wrong.
        MissingError: this is Windows, outside WSL.
    """
    require_posix("a benchmark")
    registry = registry or default_registry()
    loaded = load_served(recipe, registry, overrides)
    with attributed(loaded, registry):
        return bench_recipe(loaded, registry, steps=steps)
