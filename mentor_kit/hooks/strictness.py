"""Rejects values that pydantic accepts and recipes must not have: true for 1, numbers that are not finite, unused keys.

Options may be any pydantic model, so this works by their annotations alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mentor_kit.core.explanation import unknown_key
from mentor_kit.core.secret import Secret

#: A place inside the data, with its fault.
Found = tuple[tuple[str | int, ...], str]

#: Whole numbers from here on are mistakes: no count and no seed is as large.
LARGEST = 1 << 63

#: Numbers from here on are mistakes, too: no rate, weight, time or size is as large.
LARGEST_FLOAT = 1e15

_UNIONS = (Union, type(int | str))


def lenient_faults(model: type[BaseModel], data: Any) -> list[Found]:
    """Return the faults in data that the model itself accepts.

    Args:
        model: of the options, or of a recipe.
        data: the recipe's value for the model, as parsed from YAML.
    """
    return list(_in_model(model, data, ()))


def default_faults(model: type[BaseModel]) -> list[Found]:
    """Return the defaults of a model that its own fields refuse; pydantic does not validate them."""
    found: list[Found] = []
    for name, field in model.model_fields.items():
        if field.default is PydanticUndefined:
            continue
        annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        try:
            TypeAdapter(annotated).validate_python(field.default)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            found.append(((field.alias or name,), f"its default {field.default!r} is refused: {first['msg']}"))
    return found


def _in_model(model: type[BaseModel], data: Any, place: tuple[str | int, ...]) -> Iterator[Found]:
    if not isinstance(data, Mapping):
        return
    known = _by_key(model)
    for key, value in data.items():
        if key in known:
            yield from _in_value(known[key].annotation, value, (*place, key))
        elif model.model_config.get("extra", "ignore") == "ignore":
            names = [field.alias or name for name, field in model.model_fields.items()]
            yield (*place, key), unknown_key(str(key), names, value)


def _in_value(annotation: Any, value: Any, place: tuple[str | int, ...]) -> Iterator[Found]:
    annotation = _plain(annotation)
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in _UNIONS:
        # a value that one member of the union accepts is no fault
        yield from min((list(_in_value(member, value, place)) for member in _fitting(inside, value)), key=len)
    elif isinstance(value, bool):
        if annotation in (int, float) or (origin is Literal and not _literals(annotation)):
            yield place, f"must be {_kind(annotation)}, not {str(value).lower()}"
    elif isinstance(value, int) and abs(value) >= LARGEST and annotation in (int, float):
        yield place, "must be a number that fits into 64 bits"
    elif isinstance(value, float) and annotation in (int, float):
        if not math.isfinite(value):
            yield place, f"must be a finite number, not {value}"
        elif abs(value) > LARGEST_FLOAT:
            yield place, f"must be a number of at most {LARGEST_FLOAT:g}, not {value:g}"
    elif isinstance(value, str):
        # pydantic reads such strings; a secret's value is one whatever it is for
        if annotation in (int, float) and not isinstance(value, Secret) and _is_number(value):
            yield place, f"must be {_kind(annotation)}, not the string {value!r}; write it without quotes"
    elif isinstance(value, Mapping):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _in_model(annotation, value, place)
        elif origin is not None and len(inside) == 2:
            for key, item in value.items():
                yield from _in_value(inside[1], item, (*place, key))
    elif isinstance(value, list | tuple) and inside:
        is_row = origin is tuple and Ellipsis not in inside
        for index, item in enumerate(value):
            yield from _in_value(inside[min(index, len(inside) - 1)] if is_row else inside[0], item, (*place, index))


def _fitting(members: tuple[Any, ...], value: Any) -> list[Any]:
    """Return the members of a union that a value most likely belongs to; all of them if none is more likely."""
    plain = [_plain(member) for member in members]
    if isinstance(value, Mapping):
        models = [member for member in plain if isinstance(member, type) and issubclass(member, BaseModel)]
        taking = [member for member in models if set(value) <= _by_key(member).keys()]
        return taking or models or plain
    if isinstance(value, bool):
        # true is itself where a member has it; otherwise the numbers among the members decide
        exact = [member for member in plain if member is bool or value in _literals(member)]
        return exact or [member for member in plain if member in (int, float)] or plain
    if isinstance(value, str):
        numbers = [member for member in plain if member in (int, float)]
        return numbers if numbers and all(one in numbers or _takes_no(one, value) for one in plain) else plain
    if isinstance(value, int | float):
        return [member for member in plain if member in (int, float)] or plain
    return plain


def _takes_no(member: Any, text: str) -> bool:
    """Return whether a member of a union rejects the string."""
    if get_origin(member) is Literal:
        return text not in get_args(member)
    return member in (bool, type(None)) or get_origin(member) in (list, tuple, dict)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _literals(annotation: Any) -> tuple[Any, ...]:
    """The values of a `Literal` that are true or false."""
    values = get_args(annotation) if get_origin(annotation) is Literal else ()
    return tuple(value for value in values if isinstance(value, bool))


def _plain(annotation: Any) -> Any:
    """Return the annotation without aliases and metadata."""
    while True:
        if hasattr(annotation, "__value__"):  # a type alias
            annotation = annotation.__value__
        elif get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        else:
            return annotation


def _by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the model's fields by their keys."""
    return {key: field for name, field in model.model_fields.items() for key in (name, field.alias) if key}


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    return "a whole number" if annotation is int else "a number"
