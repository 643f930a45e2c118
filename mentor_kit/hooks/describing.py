"""Describes a component's options: names, types, defaults and docstrings, and an example line for a recipe."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from textwrap import dedent
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from mentor_kit.core.component import ComponentSpec, Fills, Kind
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import Component

#: How a recipe names a component of each kind; `{}` is the component with its options.
PLACES: dict[Kind, str] = {
    "backends": "backend: {}",
    "samplers": "sampler: {}",
    "students": "student: {}",
    "tools": "tools: [{}]",
    "tasks": "task: {}",
    "teachers": "teacher: {}",
    "reward_terms": "reward: {{terms: [{}]}}",
    "rewards": "reward: {}",
    "losses": "train: [{{use: grpo, with: {{objective: {{loss: {}}}}}}}]",
    "advantages": "train: [{{use: grpo, with: {{objective: {{advantage: {}}}}}}}]",
    "stages": "train: [{}]",
    "evaluations": "evaluate: {{on: [{}]}}",
    "families": "teacher: {{use: openai, with: {{read_calls: {}}}}}",
    "formats": "task: {{use: conversations, with: {{format: {}, …}}}}",
    "trackers": "trackers: [{}]",
    "engines": "mentorkit export-run RECIPE --engine {} -o FOLDER",
    "recipes": "extends: {}",
}


@dataclass(frozen=True)
class Option:
    """An option of a component; `optimizer.use` is nested in `optimizer`."""

    name: str
    type: str
    required: bool
    default: Json
    """As JSON; None, too, where it is required."""
    text: str
    """Its docstring or description, in one line; empty where it has none."""

    def as_data(self) -> dict[str, Json]:
        """The option for programs."""
        return dict(vars(self))


def options_of(
    model: type[BaseModel], prefix: str = "", around: tuple[type, ...] = (), values: BaseModel | None = None
) -> Iterator[Option]:
    """Yield all options of a model, each followed by those nested in it.

    Args:
        model: the options.
        prefix: of the names.
        around: the models that this one is inside of.
        values: the default of what has these options, whose values are theirs.
    """
    docstrings = _docstrings(model)
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        text = " ".join((field.description or docstrings.get(name, "")).split())
        value = field.default if values is None else getattr(values, name)
        yield Option(key, _type(field), field.is_required() and values is None, _default(value, field), text)
        inner = _model_in(field.annotation)
        if inner is not None and inner not in (*around, model):
            yield from options_of(inner, f"{key}.", (*around, model), value if isinstance(value, inner) else None)


def example(component: Component) -> str:
    """Return an example line of a recipe that uses a component.

    `…` stands for required values, and for those of options that are marked by examples of their own, of which one or
    another is needed.
    """
    fields = component.options.model_fields.items()
    needed = [field.alias or name for name, field in fields if field.is_required() or field.examples]
    values = ", ".join(f"{name}: …" for name in needed)
    if component.kind in ("recipes", "students", "families", "formats", "engines"):
        return PLACES[component.kind].format(component.name)
    weight = ", weight: 1.0" if component.kind == "reward_terms" else ""
    given = f", with: {{{values}}}" if values else ""
    return PLACES[component.kind].format(f"{{use: {component.name}{weight}{given}}}")


def _type(field: FieldInfo) -> str:
    limits = [
        f"{sign} {value}"
        for mark in field.metadata
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if (value := getattr(mark, name, None)) is not None
    ]
    fills = next((mark for mark in field.metadata if isinstance(mark, Fills)), None)
    stated = f"one of `mentorkit plugins {fills.kind}`" if fills is not None else _words(field.annotation)
    return ", ".join([stated, *limits])


def _words(annotation: Any) -> str:
    """Return a type as a readable string."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__value__"):
        return _words(annotation.__value__)
    if origin is Annotated:
        fills = next((mark for mark in inside[1:] if isinstance(mark, Fills)), None)
        return f"one of `mentorkit plugins {fills.kind}`" if fills is not None else _words(inside[0])
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_words(member) for member in inside))
    if origin is Literal:
        return " | ".join(map(str, inside))
    if origin is not None:
        members = ", ".join(_words(member) for member in inside if member is not Ellipsis)
        # recipes have lists, whatever they become
        name = "list" if origin is tuple else getattr(origin, "__name__", origin)
        return f"{name}[{members}]"
    return "null" if annotation in (None, type(None)) else getattr(annotation, "__name__", str(annotation))


def _default(value: Any, field: FieldInfo) -> Json:
    """Return a default as JSON, or as a string if it has no JSON form."""
    if value is PydanticUndefined:
        if field.default_factory is None:
            return None
        value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, tuple | list):
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    return value if value is None or isinstance(value, bool | int | float | str | dict) else str(value)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the one options model in an annotation; None for component specs, whose component has the options."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType, Annotated) else [annotation]
    found = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
    return found[0] if len(found) == 1 and not issubclass(found[0], ComponentSpec) else None


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields, with those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        try:
            (definition,) = ast.parse(dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue  # a model that was made without a source file
        body = definition.body if isinstance(definition, ast.ClassDef) else []
        for field, below in pairwise(body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[field.target.id] = str(below.value.value)
    return found
