"""The splits of its task that a recipe names: those it does not have are found before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mentor_kit.core.errors import did_you_mean
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.faults import Fault, faults_at
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.source import Path_
from mentor_kit.stages.collect import CollectOptions
from mentor_kit.stages.evaluate import BOTH, EvaluateOptions, SplitPlan
from mentor_kit.stages.export import ExportOptions
from mentor_kit.stages.sft import SFTOptions


def split_faults(loaded: LoadedRecipe, registry: Registry, splits: Sequence[str]) -> list[Fault]:
    """The splits that the recipe's stages would use and its task does not have.

    Args:
        loaded: the recipe; its stages' options are right.
        registry: the plugins.
        splits: those of the task.
    """
    found = [
        (path, f"the task has no split {name!r}{did_you_mean(name, splits)}; its splits are: {', '.join(splits)}")
        for path, name in _named(loaded.recipe, registry)
        if name not in splits
    ]
    return faults_at(loaded.source, loaded.recipe.model_dump(by_alias=True), found)


def known_splits(recipe: Recipe, registry: Registry) -> tuple[str, ...] | None:
    """The task's splits, where its options say them: `task_splits`."""
    found = getattr(registry.check("tasks", recipe.task), "task_splits", None)
    return None if found is None else tuple(found)


def _named(recipe: Recipe, registry: Registry) -> Iterator[tuple[Path_, str]]:
    """Every split that a stage would use, and where the recipe names it."""
    during = False
    for index, slot in enumerate(recipe.train):
        options: Any = registry.check("stages", slot)
        inside: Path_ = ("train", index, "with")
        if isinstance(options, CollectOptions | SFTOptions):
            yield (*inside, "split"), options.split
        if isinstance(options, EvaluateOptions):
            yield from _of_plans(options.on, (*inside, "on"))
            if not (options.on or recipe.evaluate.on):
                yield from ((("train", index, "use"), plan.split) for plan in BOTH)
            during = during or not options.on
        else:
            during = during or not isinstance(options, CollectOptions | ExportOptions)
    if during:
        yield from _of_plans(recipe.evaluate.on, ("evaluate", "on"))


def _of_plans(on: Sequence[Any], path: Path_) -> Iterator[tuple[Path_, str]]:
    for index, plan in enumerate(on):
        if isinstance(plan, SplitPlan):
            yield (*path, index, "split"), plan.split
