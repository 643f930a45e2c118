"""Audits a recipe's reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.checking import check
from mentor_kit.audits import Audit
from mentor_kit.audits import audit as audit_reward
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.attribution import attributed
from mentor_kit.recipe.loading import RecipeLike
from mentor_kit.recipe.python_values import NO_OVERRIDES


@checked_arguments
def audit(
    recipe: RecipeLike,
    *,
    overrides: Mapping[str, Any] = NO_OVERRIDES,
    problems: int = 2,
    tries: int = 1000,
    seed: int = 0,
    families: Sequence[str] = (),
    registry: Registry | None = None,
) -> Audit:
    """Check whether anything earns more from a recipe's reward than honest work: known attacks, and a search.

    Args:
        recipe: as for `run`; its task, tools, teacher, reward and tokenizer are used, no model is loaded.
        overrides: as for `run`.
        problems: how many problems each attack is tried on.
        tries: how many mutants of honest transcripts are tried in each family; 0 for none.
        seed: of the problems and the mutants.
        families: the families of models whose format transcripts have, or `all`; the student's if left out.
        registry: as for `run`.

    Raises:
        UsageError: the recipe has no reward or nothing to audit it with.
        RecipeError: the recipe is wrong.
    """
    registry = registry or default_registry()
    loaded = check(recipe, overrides=overrides, registry=registry)
    with attributed(loaded, registry):
        return audit_reward(loaded, registry, problems=problems, tries=tries, seed=seed, families=families)
