"""Collects a teacher's demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import check
from mentor_kit.api.locations import RUNS
from mentor_kit.api.running import run
from mentor_kit.api.single_stage import with_stage
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.hooks.tracker import Tracker
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.recipe.python_values import NO_OVERRIDES
from mentor_kit.runs import Run


@checked_arguments
def collect(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    problems: int = 100,
    keep: Literal["right", "all"] = "right",
    output: str | Path = RUNS,
    trackers: Sequence[Tracker] = (),
    registry: Registry | None = None,
) -> Run:
    """Collect demonstrations of training problems from a recipe's teacher: a run whose only stage is `collect`.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        problems: how many training problems.
        keep: `right` demonstrations only, or `all`.
        output: as for `run`.
        trackers: as for `run`.
        registry: as for `run`.

    Raises:
        UsageError: `keep` is neither of the two.
        RecipeError: the recipe is wrong.
    """
    if keep not in ("right", "all"):
        raise UsageError(f"keep must be 'right' or 'all', not {keep!r}")
    registry = registry or default_registry()
    stage = ComponentSpec(use="collect", options={"problems": problems, "keep": keep})
    loaded = with_stage(check(recipe, overrides=overrides, look=False, registry=registry), stage)
    return run(loaded, output=output, trackers=trackers, registry=registry)
