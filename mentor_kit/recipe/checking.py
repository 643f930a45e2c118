"""Checks every slot of a recipe against what the plugins offer, before anything heavy is imported."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from mentor_kit.errors import MentorKitError, RecipeError
from mentor_kit.hooks.registry import BuildContext, Registry, SlotError
from mentor_kit.recipe.loading import LoadedRecipe
from mentor_kit.recipe.source import Path_
from mentor_kit.slot import Fills, Kind, RewardSpec, Slot


def check_recipe(loaded: LoadedRecipe, registry: Registry) -> None:
    """Every slot's name and options, those inside options too.

    Raises:
        RecipeError: with every fault there is, each with its place.
    """
    faults = [
        loaded.fault((*path, *place), message, key=message.startswith("unknown key"))
        for path, found in _slot_faults(loaded.recipe, (), registry)
        for place, message in found
    ]
    if not faults:
        faults = _what_does_not_fit(loaded)
    if faults:
        raise RecipeError("\n".join(dict.fromkeys(faults)))


def expand_reward(loaded: LoadedRecipe, registry: Registry) -> RewardSpec | None:
    """The gates and terms that the recipe's reward stands for."""
    reward = loaded.recipe.reward
    if reward is None or isinstance(reward, RewardSpec):
        return reward
    context = BuildContext(registry=registry, seed=loaded.recipe.seed, recipe_folder=loaded.folder)
    spec: RewardSpec = registry.build("rewards", reward, context)
    return spec


def slots(value: Any, path: Path_ = ()) -> Iterator[tuple[Kind, Slot, Path_]]:
    """Every slot of a model, with its kind and its path, by the marks in the model's annotations."""
    for name, info in type(value).model_fields.items():
        yield from _in_value((info.annotation, tuple(info.metadata)), getattr(value, name), (*path, info.alias or name))


def _in_value(marked: tuple[Any, tuple[Any, ...]], value: Any, path: Path_) -> Iterator[tuple[Kind, Slot, Path_]]:
    annotation, metadata = marked
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata = (*metadata, *more)
    fills = next((mark for mark in metadata if isinstance(mark, Fills)), None)
    if fills is not None and isinstance(value, Slot):
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
        yield from slots(value, path)


def _fits(choice: Any, value: Any) -> bool:
    plain = get_args(choice)[0] if get_origin(choice) is Annotated else choice
    plain = get_origin(plain) or plain
    return (isinstance(plain, type) and type(value) is plain) or (plain in (list, tuple) and isinstance(value, plain))


def _slot_faults(model: BaseModel, path: Path_, registry: Registry) -> Iterator[tuple[Path_, list[tuple[Path_, str]]]]:
    for kind, slot, place in slots(model, path):
        try:
            options = registry.check(kind, slot)
        except SlotError as error:
            yield place, error.faults
        except MentorKitError as error:
            yield place, [(("use",), str(error).replace("\n", "; "))]
        else:
            yield from _slot_faults(options, (*place, "with"), registry)


def _what_does_not_fit(loaded: LoadedRecipe) -> list[str]:
    """Parts that are each right, and do not go together."""
    recipe = loaded.recipe
    found = []
    if recipe.reward is None and any(slot.use == "grpo" for slot in recipe.train):
        found.append(loaded.fault(("train",), "the stage `grpo` needs a reward: add `reward: {use: mentor}`"))
    return found
