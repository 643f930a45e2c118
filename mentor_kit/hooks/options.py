"""Validates components' options, with messages for users."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mentor_kit.core.explanation import explain
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
        found = explain(error, model, data)
    known = {place for place, _ in found}
    return options, [*found, *((place, fault) for place, fault in lenient_faults(model, data) if place not in known)]
