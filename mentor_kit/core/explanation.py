"""What pydantic finds wrong with data, in a user's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mentor_kit.core.errors import did_you_mean
from mentor_kit.core.foreign_keys import foreign_hint, foreign_section_hint

Path = tuple[str | int, ...]

#: pydantic's phrases, and what they become.
_PHRASES = (
    (r", unable to parse \w+ as an? \w+", ""),
    (r", got a number with a fractional part", ""),
    (r", unable to interpret input", ""),
    (r"^Unable to parse input string as an integer, exceeded maximum size", "must be a whole number of 64 bits"),
    (r"^Input should be a valid dictionary or instance of \w+", "must be a mapping of keys to values"),
    (r"^Input should be a valid dictionary", "must be a mapping of keys to values"),
    (r"^Input should be a valid (tuple|list)", "must be a list"),
    (r"^Input should be a valid string", "must be a string"),
    (r"^Input should be a valid boolean", "must be true or false"),
    (r"^Input should be a valid integer", "must be a whole number"),
    (r"^Input should be a valid number", "must be a number"),
    (r"^Input should be", "must be"),
)


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> list[tuple[Path, str]]:
    """Return what is wrong, as places inside the data with messages; with a did-you-mean for unknown keys.

    A value that may be of several types and is of none is one fault.

    Args:
        error: pydantic's.
        model: what the data were to be.
        data: as they were given.
    """
    messages: dict[Path, list[str]] = {}
    for place, message in _of_best_members(_messages(error, model)):
        for pattern, plain in _PHRASES:
            message = re.sub(pattern, plain, message)
        messages.setdefault(real_path(data, place), []).append(message)
    return [(place, message) for place, said in messages.items() for message in _one_of_a_union(said)]


def _messages(error: ValidationError, model: type[BaseModel]) -> list[tuple[Path, str]]:
    """Pydantic's places, with its messages or ours."""
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


def _of_best_members(faults: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Where a value may be one of several models, the faults of the model it comes closest to."""

    def member(place: Path) -> tuple[Path, str] | None:
        found = next((index for index, step in enumerate(place) if isinstance(step, str) and step[:1].isupper()), None)
        return None if found is None else (place[:found], str(place[found]))

    counts: dict[tuple[Path, str], int] = {}
    for place, _ in faults:
        if (key := member(place)) is not None:
            counts[key] = counts.get(key, 0) + 1

    def is_best(place: Path) -> bool:
        key = member(place)
        return key is None or key == min((k for k in counts if k[0] == key[0]), key=lambda k: counts[k])

    return [(place, message) for place, message in faults if is_best(place)]


def _one_of_a_union(messages: list[str]) -> list[str]:
    """The messages about one place, those of a value that may be of several types as one."""
    wanted: dict[str, list[str]] = {}
    others = []
    for message in messages:
        if parts := re.fullmatch(r"must be (.+), not (.+?)", message):
            wanted.setdefault(parts[2], []).append(parts[1])
        else:
            others.append(message)
    return others + [f"must be {' or '.join(dict.fromkeys(kinds))}, not {value}" for value, kinds in wanted.items()]


def real_path(data: Any, place: Path) -> Path:
    """The part of a path that the data have.

    Left out are steps that pydantic adds for unions, names of models and types rather than keys, and places in a list
    where the data have one value for it.
    """
    path: list[str | int] = []
    node: Any = data
    for index, step in enumerate(place):
        inside = isinstance(step, int) if isinstance(node, list | tuple) else isinstance(node, dict) and step in node
        if inside:
            node = node[step]
        is_last = index == len(place) - 1
        is_key = isinstance(node, dict) and isinstance(step, str) and not step[:1].isupper() and "[" not in step
        if inside or (is_last and is_key):
            path.append(step)
    return tuple(path)
