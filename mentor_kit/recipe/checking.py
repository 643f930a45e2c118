"""Checks every component of a recipe against what the plugins offer, before anything heavy is imported."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from mentor_kit.core.component import ComponentSpec, Fills, Kind
from mentor_kit.core.errors import MentorKitError, did_you_mean
from mentor_kit.core.explanation import real_path
from mentor_kit.core.options import ToolOptions
from mentor_kit.hooks.registry import BuildContext, ComponentError, Registry, noun
from mentor_kit.recipe.faults import Fault, RecipeFaults, faults_at
from mentor_kit.recipe.loading import LoadedRecipe, RecipeLike, read_recipe, validated
from mentor_kit.recipe.model import CheckpointPlan, Recipe
from mentor_kit.recipe.needs import need_faults
from mentor_kit.recipe.python_values import checked_overrides
from mentor_kit.recipe.references import component_faults, student_faults
from mentor_kit.recipe.source import Path_, Source
from mentor_kit.recipe.splits import known_splits, split_faults
from mentor_kit.rl.reward import RewardSpec
from mentor_kit.stages.evaluation_plan import SplitPlan, plan_names


def load_checked(
    recipe: RecipeLike, overrides: Mapping[str, Any], registry: Registry, *, look: bool = False
) -> LoadedRecipe:
    """Load a recipe and check the whole of it, so that a fault in one place hides none in another.

    Args:
        recipe: as for `load_recipe`.
        overrides: as for `load_recipe`.
        registry: as for `check_recipe`.
        look: as for `check_recipe`.

    Raises:
        RecipeError: with every fault there is, each with its place.
        UsageError: `recipe` or `overrides` are of another type.
    """
    if isinstance(recipe, LoadedRecipe) and not checked_overrides(overrides):
        check_recipe(recipe, registry, look=look)
        return recipe
    source, folder = read_recipe(recipe, overrides)
    try:
        loaded = validated(source, folder)
    except RecipeFaults as error:
        found = (fault for spec in _specs_of_valid_keys(source) for fault in _faults(source, registry, *spec))
        raise RecipeFaults([*error.faults, *found]) from None
    check_recipe(loaded, registry, look=look)
    return loaded


def check_recipe(loaded: LoadedRecipe, registry: Registry, *, look: bool = False) -> None:
    """Check the name and options of every component, those inside options too.

    Args:
        loaded: the recipe.
        registry: the plugins.
        look: also look at what it names on this machine: files, columns, modules, commands, models.

    Raises:
        RecipeError: with every fault there is, each with its place.
    """
    found = [fault for spec in component_specs(loaded.recipe) for fault in _faults(loaded.source, registry, *spec)]
    found += _not_here(loaded, registry) if look else ()
    if found or (found := _what_does_not_fit(loaded, registry)):
        raise RecipeFaults(found)


def check_key(loaded: LoadedRecipe, registry: Registry, key: str) -> None:
    """Check the name and options of the components under one of the recipe's keys, and of no other.

    Raises:
        RecipeError: with every fault there is, each with its place.
    """
    specs = [spec for spec in component_specs(loaded.recipe) if spec[2][0] == key]
    if found := [fault for spec in specs for fault in _faults(loaded.source, registry, *spec)]:
        raise RecipeFaults(found)


def expand_reward(loaded: LoadedRecipe, registry: Registry) -> RewardSpec | None:
    """The gates and terms that the recipe's reward stands for."""
    reward = loaded.recipe.reward
    if reward is None or isinstance(reward, RewardSpec):
        return reward
    context = BuildContext(registry=registry, seed=loaded.recipe.seed, recipe_folder=loaded.folder)
    spec: RewardSpec = registry.build("rewards", reward, context)
    return spec


def component_specs(value: Any, path: Path_ = ()) -> Iterator[tuple[Kind, ComponentSpec, Path_]]:
    """Every component of a model, with its kind and its path, by the marks in the model's annotations."""
    for name, info in type(value).model_fields.items():
        yield from _in_value((info.annotation, tuple(info.metadata)), getattr(value, name), (*path, info.alias or name))


def _in_value(
    marked: tuple[Any, tuple[Any, ...]], value: Any, path: Path_
) -> Iterator[tuple[Kind, ComponentSpec, Path_]]:
    annotation, metadata = marked
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata = (*metadata, *more)
    fills = next((mark for mark in metadata if isinstance(mark, Fills)), None)
    if fills is not None and isinstance(value, ComponentSpec):
        yield fills.kind, value, path
    elif get_origin(annotation) in (Union, types.UnionType):
        for choice in get_args(annotation):
            if _fits(choice, value):
                yield from _in_value((choice, ()), value, path)
                return
    elif isinstance(value, list | tuple):
        inner = (get_args(annotation) or (Any,))[0]
        for index, item in enumerate(value):
            yield from _in_value((inner, ()), item, (*path, index))
    elif isinstance(value, BaseModel):
        yield from component_specs(value, path)


def _fits(choice: Any, value: Any) -> bool:
    plain = get_args(choice)[0] if get_origin(choice) is Annotated else choice
    plain = get_origin(plain) or plain
    return (isinstance(plain, type) and type(value) is plain) or (plain in (list, tuple) and isinstance(value, plain))


def _specs_of_valid_keys(source: Source) -> Iterator[tuple[Kind, ComponentSpec, Path_]]:
    """The components under those of a faulty recipe's keys that are right in themselves."""
    for name, info in Recipe.model_fields.items():
        try:
            value = TypeAdapter[Any](info.annotation or Any).validate_python(source.data[name])
        except (KeyError, ValidationError):
            continue
        yield from _in_value((info.annotation, tuple(info.metadata)), value, (name,))


def _faults(source: Source, registry: Registry, kind: Kind, spec: ComponentSpec, path: Path_) -> Iterator[Fault]:
    """What is wrong with a component, and with those inside its options."""
    try:
        options = registry.check(kind, spec)
    except ComponentError as error:
        yield from faults_at(source, error.faults, path)
    except MentorKitError as error:
        yield from faults_at(source, [(("use",), str(error).replace("\n", "; "))], path)
    else:
        for inner in component_specs(options, (*path, "with")):
            yield from _faults(source, registry, *inner)


def _not_here(loaded: LoadedRecipe, registry: Registry) -> Iterator[Fault]:
    """What the recipe names and is not on this machine."""
    yield from faults_at(loaded.source, student_faults(loaded, registry))
    for kind, spec, path in all_component_specs(loaded.recipe, registry):
        given = spec.model_dump(by_alias=True)
        found = [(real_path(given, place), text) for place, text in component_faults(loaded, registry, kind, spec)]
        yield from faults_at(loaded.source, found, path)


def all_component_specs(recipe: Recipe, registry: Registry) -> Iterator[tuple[Kind, ComponentSpec, Path_]]:
    """The recipe's components, and those inside the options of components whose own options are right."""
    waiting = list(component_specs(recipe))
    while waiting:
        kind, spec, path = waiting.pop(0)
        yield kind, spec, path
        with suppress(MentorKitError):
            waiting += component_specs(registry.check(kind, spec), (*path, "with"))


def unavailable_components(recipe: Recipe, registry: Registry) -> Iterator[str]:
    """Yield the components that cannot be used on this machine, each with the reason, in one line."""
    for kind, spec, _ in all_component_specs(recipe, registry):
        if reason := registry.component(kind, spec.use).unavailable():
            yield f"{noun(kind)} {spec.use}: {reason}".replace("\n", "; ")


def _what_does_not_fit(loaded: LoadedRecipe, registry: Registry) -> list[Fault]:
    """Components that are each right, and do not go together."""
    recipe = loaded.recipe
    found = list(need_faults(recipe, registry))
    found += _tools_of_one_name(recipe, registry)
    if recipe.sampler is not None and recipe.rollout.deterministic is True:
        place: Path_ = ("rollout", "deterministic")
        found.append((place, f"the sampler {recipe.sampler.use!r} draws by itself: runs differ; set it to auto"))
    metrics = _metrics(recipe)
    best = recipe.checkpoints.best
    if metrics and best not in (None, CheckpointPlan().best, *metrics):
        close = did_you_mean(str(best), metrics)
        found.append(
            (("checkpoints", "best"), f"no evaluation has the metric {best!r}{close}; there are {', '.join(metrics)}")
        )
    splits = known_splits(recipe, registry)
    of_splits = [] if splits is None else split_faults(loaded, registry, splits)
    return [*faults_at(loaded.source, found), *of_splits]


def _tools_of_one_name(recipe: Recipe, registry: Registry) -> Iterator[tuple[Path_, str]]:
    """Tools that two entries of `tools` have, as far as their options know them; equal entries in any case."""
    owners: dict[str, int] = {}
    for index, spec in enumerate(recipe.tools):
        options = registry.check("tools", spec)
        names = tuple(options.tool_names) if isinstance(options, ToolOptions) else ()
        twice = [name for name in names if name in owners]
        if twice:
            yield (
                ("tools", index),
                f"two tools are called {twice[0]!r}: one of tools.{owners[twice[0]]}, one of tools.{index}; "
                "remove one of them, or give its `prefix` or `rename` where it has them",
            )
        elif not names and spec in recipe.tools[:index]:
            yield ("tools", index), f"the same tools as tools.{recipe.tools.index(spec)}"
        owners = dict.fromkeys(names, index) | owners


def _metrics(recipe: Recipe) -> list[str]:
    """What `checkpoints.best` may name; empty where an evaluation of a plugin may have any metric."""
    plans = recipe.evaluate.on
    if not all(isinstance(plan, SplitPlan) for plan in plans):
        return []
    return [
        f"{name}/{metric}"
        for plan, name in zip(plans, plan_names(plans), strict=True)
        if isinstance(plan, SplitPlan)
        for metric in ("greedy", *(("sampled",) if plan.samples else ()), "similarity")
    ]
