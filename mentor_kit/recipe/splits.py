"""The splits of its task that a recipe names; those that the task does not have are found before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import did_you_mean
from mentor_kit.core.options import TaskOptions
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.faults import Fault, faults_at
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.source import Path_
from mentor_kit.recipe.workloads import workloads_if_known
from mentor_kit.stages.evaluation_plan import SplitPlan
from mentor_kit.stages.workload import Workload


def split_faults(loaded: LoadedRecipe, registry: Registry, splits: Sequence[str]) -> list[Fault]:
    """The splits that the recipe's stages use and its task does not have.

    Args:
        loaded: the recipe; its stages' options are valid.
        registry: the plugins.
        splits: those of the task.
    """
    context = BuildContext(registry=registry, seed=loaded.recipe.seed, recipe_folder=loaded.folder)
    found = [
        (path, f"the task has no split {name!r}{did_you_mean(name, splits)}; its splits are: {', '.join(splits)}")
        for path, name in _named(loaded.recipe, workloads_if_known(loaded.recipe, registry, context))
        if name not in splits
    ]
    return faults_at(loaded.source, found)


def known_splits(recipe: Recipe, registry: Registry) -> tuple[str, ...] | None:
    """The task's splits, where its options know them."""
    options = registry.check("tasks", recipe.task)
    found = options.task_splits if isinstance(options, TaskOptions) else None
    return None if found is None else tuple(found)


def _named(recipe: Recipe, works: Sequence[Workload]) -> Iterator[tuple[Path_, str]]:
    """Every split that a stage uses, and where the recipe names it."""
    for index, work in enumerate(works):
        for use in work.splits:
            inside: Path_ = ("with", *use.option) if use.option else ("use",)
            yield ("train", index, *inside), use.split
    if any(work.evaluates for work in works):
        yield from _of_plans(recipe.evaluate.on, ("evaluate", "on"))


def _of_plans(on: Sequence[SplitPlan | ComponentSpec], path: Path_) -> Iterator[tuple[Path_, str]]:
    for index, plan in enumerate(on):
        if isinstance(plan, SplitPlan):
            yield (*path, index, "split"), plan.split
