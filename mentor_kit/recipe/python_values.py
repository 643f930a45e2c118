"""Recipes and overrides that Python callers give, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from mentor_kit.core.errors import RecipeError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import Secret
from mentor_kit.recipe.settings import Settings

#: The default of `overrides`.
NO_OVERRIDES: Mapping[str, Any] = MappingProxyType({})


def as_data(value: Any) -> Any:
    """A value as plain data: models as mappings by their keys in a recipe, secrets as references, paths as strings."""
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {field.alias or name: as_data(getattr(value, name)) for name, field in fields.items()}
    if isinstance(value, Mapping):
        return {str(key): as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_data(item) for item in value]
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Integral):  # NumPy's scalars
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def plain_mapping(recipe: Mapping[Any, Any]) -> dict[str, Json]:
    """A recipe that was given as a mapping, as plain data.

    Raises:
        RecipeError: a key is not a string, or a value contains itself.
    """
    try:
        _check_keys(recipe, ())
        data: dict[str, Json] = as_data(recipe)
    except RecursionError:
        raise RecipeError("the recipe is nested too deeply, or a value contains itself") from None
    return data


def checked_overrides(overrides: Mapping[str, Any]) -> Mapping[str, Json]:
    """Overrides as plain data, in their order.

    Raises:
        UsageError: they are not a mapping, or a key is not a string.
        RecipeError: as for `plain_mapping`, of their values.
    """
    if isinstance(overrides, Settings):
        return overrides
    if not isinstance(overrides, Mapping):
        raise UsageError(
            f"overrides must be a mapping, not {type(overrides).__name__}", hint='for example {"train.0.steps": 10}'
        )
    wrong = [key for key in overrides if not isinstance(key, str)]
    if wrong:
        raise UsageError(
            f"the override {wrong[0]!r} must be a dotted key, not {type(wrong[0]).__name__}",
            hint='for example {"train.0.steps": 10}',
        )
    return plain_mapping(overrides)


def _check_keys(value: Any, path: tuple[str, ...]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                place = f"{'.'.join(path)}: " if path else ""
                raise RecipeError(f"{place}the key {key!r} is not a string")
            _check_keys(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_keys(item, (*path, str(index)))
