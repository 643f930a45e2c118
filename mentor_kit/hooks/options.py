"""Validates components' options, with messages for users."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from mentor_kit.core.errors import did_you_mean
from mentor_kit.hooks.strictness import lenient_faults

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], data: Any) -> tuple[M | None, list[tuple[tuple[str | int, ...], str]]]:
    """Data as a model, and what is wrong with it: what the model refuses, and what `lenient_faults` finds.

    Returns:
        The model, None where it refuses the data; and the faults, as places in the data with messages.
    """
    found: list[tuple[tuple[str | int, ...], str]] = []
    options = None
    try:
        options = model.model_validate(data)
    except ValidationError as error:
        found = explain(error, model)
    known = {place for place, _ in found}
    return options, [*found, *((place, text) for place, text in lenient_faults(model, data) if place not in known)]


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """A pydantic error in a user's words: places with messages, with a did-you-mean for unknown keys."""
    found = []
    for fault in error.errors(include_url=False):
        place = tuple(step for step in fault["loc"] if not str(step).startswith(("function-", "tagged-union")))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = _keys(model, place[:-1])
            message = f"unknown key{did_you_mean(str(place[-1]), known)}; known keys: {', '.join(known) or 'none'}"
        elif fault["type"] == "missing":
            message = "this key is required"
        elif fault["type"] != "value_error":
            message = f"{message}, not {shown(fault['input'])}"
        found.append((place, message))
    return found


def _keys(model: Any, place: tuple[str | int, ...]) -> list[str]:
    """The keys a model takes at a place inside it."""
    choices = [model]
    for step in place:
        if isinstance(step, int):
            continue
        # a step may also name the member of a union that the next steps are about
        if named := [choice for choice in choices if getattr(choice, "__name__", "") == step]:
            choices = named
            continue
        fields = [f for choice in choices for n, f in choice.model_fields.items() if step in (n, f.alias)]
        choices = [arg for f in fields for arg in _leaves(f.annotation) if hasattr(arg, "model_fields")]
    model = choices[0] if choices else None
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]


def _leaves(annotation: Any) -> list[Any]:
    args = get_args(annotation)
    return [leaf for arg in args for leaf in _leaves(arg)] if args else [annotation]


def shown(value: Any) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
