"""Plans a run without running it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import load_served
from mentor_kit.backend.gpu_models import gpu_model
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.recipe.plan import RunPlan
from mentor_kit.recipe.plan import plan as plan_run
from mentor_kit.recipe.python_values import NO_OVERRIDES


@checked_arguments
def plan(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    memory: float | None = None,
    gpu: str | None = None,
    registry: Registry | None = None,
) -> RunPlan:
    """Plan a run without running it: stages, tokens, parameters, an estimate of memory.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        memory: GiB of the device that it is planned for; those of this machine's device if left out.
        gpu: a GPU that each process has, such as `rtx-4090` or `h100`, which need not be here: for its memory, where
            `memory` is left out, and the expected time of a step.
        registry: as for `run`.

    Raises:
        UsageError: `memory` is not a number above 0, or the GPU is not known.
        RecipeError: the recipe is wrong.
    """
    if memory is not None and not (isinstance(memory, int | float) and 0 < memory < float("inf")):
        raise UsageError(f"memory must be a number of GiB above 0, not {memory!r}")
    registry = registry or default_registry()
    loaded = load_served(recipe, registry, overrides)
    with attributed(loaded, registry):
        return plan_run(loaded, registry, memory, None if gpu is None else gpu_model(gpu))
