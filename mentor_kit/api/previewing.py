"""Previews a recipe: problems, prompts, the teacher's work and what it earns, before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import load_served
from mentor_kit.core.errors import UsageError
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.recipe.python_values import NO_OVERRIDES
from mentor_kit.report.preview import Preview
from mentor_kit.report.preview import preview as preview_recipe
from mentor_kit.report.preview.cost import TOKENS_PER_SECOND, Rates


@checked_arguments
def preview(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    split: str = "",
    problems: int = 3,
    problem: str | None = None,
    ask: bool = False,
    price_in: float | None = None,
    price_out: float | None = None,
    tokens_per_second: float = TOKENS_PER_SECOND,
    registry: Registry | None = None,
) -> Preview:
    """Preview a recipe: the first problems as the student reads them, the teacher's work, and what it would earn.

    The tokenizer is loaded, weights are not, so that the backend need not be installed. Without the tokenizer the
    preview says what is missing, and shows the rest.

    Args:
        recipe: as for `run`.
        overrides: as for `run`.
        split: of the problems; the training problems if left out.
        problems: how many are shown, at least 1.
        problem: the id of the only one to show.
        ask: whether to ask teachers and judges that cost money or minutes; others are always asked.
        price_in: dollars per million tokens sent, for the estimate; the teacher's own price if left out.
        price_out: dollars per million tokens received; as `price_in`.
        tokens_per_second: a server's speed, for the estimate of time.
        registry: as for `run`.

    Raises:
        UsageError: an argument is out of range, or the task has no such split or problem.
        RecipeError: the recipe is wrong.
        MentorKitError: a component cannot be built here; the message names it.
    """
    for name, value in {"price_in": price_in, "price_out": price_out}.items():
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"{name} must be dollars per million tokens, at least 0, not {value!r}")
    if not 0 < tokens_per_second < float("inf"):
        raise UsageError(f"tokens_per_second must be a number above 0, not {tokens_per_second!r}")
    registry = registry or default_registry()
    loaded = load_served(recipe, registry, overrides)
    rates = Rates(price_in, price_out, tokens_per_second)
    with attributed(loaded, registry):
        return preview_recipe(loaded, registry, split=split, problems=problems, problem=problem, ask=ask, rates=rates)
