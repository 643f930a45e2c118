"""Base class of options, and what is wrong with invalid ones, in messages for users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

from pydantic import BaseModel, ValidationError

from mentor_kit.core.errors import MentorKitError, UsageError, did_you_mean
from mentor_kit.core.foreign_keys import foreign_hint, foreign_section_hint

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:  # pydantic does not export it
    ModelMetaclass = type(BaseModel)


class OptionsType(ModelMetaclass):
    """Metaclass of options: invalid options built in Python raise a `MentorKitError`.

    Only a call of the class passes here. `model_validate`, and so reading a recipe, raises pydantic's own error, whose
    places the reader needs, and takes no longer than without this class.
    """

    def __call__(cls, *values: Any, **fields: Any) -> Any:
        """Build options from keyword arguments.

        Raises:
            UsageError: there are positional arguments, or a value that `invalid` has no other error for.
        """
        if values:
            raise UsageError(f"{cls.__name__} takes its keys by name", hint=f"for example {cls.__name__}(key=value)")
        try:
            return super().__call__(**fields)
        except ValidationError as error:
            raise cls.invalid(fields, error) from None

    def invalid(cls, fields: dict[str, Any], error: ValidationError) -> MentorKitError:
        """Return the error to raise for invalid fields: by default a `UsageError` that names each of them."""
        found = explain(error, cast(type[BaseModel], cls))
        return UsageError("; ".join(f"{'.'.join(map(str, (cls.__name__, *place)))}: {fault}" for place, fault in found))


class OptionModel(BaseModel, metaclass=OptionsType):
    """Base class of options that callers can build in Python; invalid ones raise a `UsageError`."""


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return a pydantic error's places with messages for users, with a did-you-mean for unknown keys."""
    found = []
    for fault in error.errors(include_url=False):
        place = tuple(step for step in fault["loc"] if not str(step).startswith(("function-", "tagged-union")))
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = _keys(model, place[:-1])
            message = unknown_key(str(place[-1]), known, fault["input"])
        elif fault["type"] == "missing":
            message = "this key is required"
        elif fault["type"] != "value_error":
            message = f"{message}, not {shown(fault['input'])}"
        found.append((place, message))
    return found


def unknown_key(key: str, known: Sequence[str], value: Any = None) -> str:
    """Return what is wrong with a key that an option model does not have, and what it may be called here.

    Args:
        key: the unknown key.
        known: the keys that the model has.
        value: what the key was given.
    """
    hint = foreign_hint(key, known) or foreign_section_hint(key, value) or did_you_mean(key, known)
    return f"unknown key{hint}; known keys: {', '.join(known) or 'none'}"


def _keys(model: Any, place: tuple[str | int, ...]) -> list[str]:
    """Return the keys that a model takes at a place inside it."""
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
    """Return the types that a union or container is made of."""
    args = get_args(annotation)
    return [leaf for arg in args for leaf in _leaves(arg)] if args else [annotation]


def shown(value: Any) -> str:
    """Return a value as messages show it: its `repr`, of at most 60 characters."""
    rendered = repr(value)
    return rendered if len(rendered) <= 60 else rendered[:57] + "..."
