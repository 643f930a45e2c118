"""Options in words: as they are listed, and as they are read."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from mentor_kit.core.component import ComponentSpec, TeacherSpec
from mentor_kit.hooks.describing import example, options_of
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import KINDS, Component
from mentor_kit.recipe.loading import load_recipe, recipe_names, recipe_summaries

PARTS = [part for kind in KINDS for part in default_registry().components(kind).values()]


class Inner(BaseModel):
    depth: int = 1
    """How deep."""


class Theirs(BaseModel):
    size: Annotated[float, Field(gt=0, le=2)]
    kind: Literal["a", "b"] = "a"
    """Which of
    the two."""
    words: tuple[str, ...] = Field(default=("x",), description="Its words.")
    helper: TeacherSpec | None = None
    inner: Inner = Inner(depth=3)
    made: list[int] = Field(default_factory=list, alias="m")


def test_names_types_defaults_and_docstrings() -> None:
    found = {option.name: option for option in options_of(Theirs)}
    assert list(found) == ["size", "kind", "words", "helper", "inner", "inner.depth", "m"]
    assert (found["size"].type, found["size"].required) == ("float, > 0, <= 2", True)
    assert (found["kind"].type, found["kind"].default, found["kind"].text) == ("a | b", "a", "Which of the two.")
    assert (found["words"].type, found["words"].default, found["words"].text) == ("list[str]", ["x"], "Its words.")
    assert found["helper"].type == "one of `mentorkit plugins teachers` | null"
    assert (found["inner.depth"].default, found["inner.depth"].text) == (3, "How deep.")
    assert (found["m"].default, found["m"].required) == ([], False)


def test_an_example_has_what_one_cannot_do_without() -> None:
    of = default_registry().component
    assert example(of("tasks", "rows")) == "task: {use: rows, with: {files: …}}"
    assert example(of("tasks", "conversations")) == "task: {use: conversations, with: {files: …}}"
    assert example(of("tasks", "arithmetic")) == "task: {use: arithmetic}"


@pytest.mark.parametrize("part", PARTS, ids=[f"{part.kind} {part.name}" for part in PARTS])
def test_every_part_can_be_listed(part: Component) -> None:
    found = {option.name: option for option in options_of(part.options)}
    for name, field in part.options.model_fields.items():
        assert found[field.alias or name].required == field.is_required()
    if part.kind == "engines":  # no part of a recipe
        assert example(part).startswith("mentorkit export-run ")
    else:
        assert isinstance(YAML(typ="safe", pure=True).load(example(part)), dict)


@pytest.mark.parametrize("part", PARTS, ids=[f"{part.kind} {part.name}" for part in PARTS])
def test_every_option_says_what_it_means_in_the_words_of_a_recipe(part: Component) -> None:
    for option in options_of(part.options):
        assert option.text, option.name
        assert not set(re.findall(r"\w+", option.text)) & {"None", "True", "False"}, option.name


def test_defaults_are_those_that_hold() -> None:
    """A preset's own values win over its fields' defaults."""
    part = default_registry().component("stages", "grpo")
    options: Any = default_registry().check(
        "stages", ComponentSpec(use="grpo", options={"steps": 1, "optimizer": {"lr": 1}})
    )
    found = {option.name: option.default for option in options_of(part.options)}
    for name, value in options.objective.model_dump(mode="json").items():
        assert found[f"objective.{name}"] == value


def test_every_shipped_recipe_has_a_summary_of_one_line() -> None:
    summaries = recipe_summaries()
    assert set(summaries) == set(recipe_names())
    for name, text in summaries.items():
        assert text
        assert "\n" not in text
        load_recipe(name)
