"""The JSON schema, asked by an independent validator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from recipe_helpers import SMALL, registry
from ruamel.yaml import YAML

from mentor_kit.hooks import default_registry
from mentor_kit.recipe.loading import find_recipe, recipe_names
from mentor_kit.recipe.schema import recipe_schema


def read(text: str | Path) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(scope="module")
def installed() -> Draft202012Validator:
    schema = recipe_schema(default_registry())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def small() -> Draft202012Validator:
    return Draft202012Validator(recipe_schema(registry()))


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_valid(installed: Draft202012Validator, name: str) -> None:
    installed.validate(read(find_recipe(name)))


RIGHT = [
    ("task: {use: sums}", "task: sums"),
    ("{use: mentor}", "{terms: [{use: right, weight: 1, when_wrong: 0.5, name: n}]}"),
    ("{use: mentor}", "null"),
    ("steps: 3", "steps: 3, teacher: scripted"),
    ("steps: 3", "steps: 3, teacher: {use: scripted, with: {count: 3}}, helpers: [scripted], inner: {depth: 3}"),
    ("{use: sums}", "{use: sums, with: {inner: {width: 3}}}"),
    ("mentorkit: 1", "extends: quickstart"),
]

WRONG = [
    ("{use: sums}", "{use: smus}"),
    ("{use: sums}", "smus"),
    ("{use: sums}", "{use: sums, with: {width: 3}}"),
    ("{use: sums}", "{use: sums, with: {inner: {depth: 3}}}"),
    ("steps: 3", "steps: 3, inner: {width: 3}"),
    ("{use: mentor}", "{terms: [{use: right}]}"),
    ("{use: mentor}", "{terms: [right]}"),
    ("{use: mentor}", "{terms: [{use: rigth, weight: 1}]}"),
    ("steps: 3", "steps: three"),
    ("steps: 3", "steps: 0"),
    ("steps: 3", "stesp: 3"),
    ("steps: 3", "steps: 3, teacher: {use: nobody}"),
    ("steps: 3", "steps: 3, helpers: [{use: scripted, with: {count: x}}]"),
    ("name: small", "nmae: small"),
    ("name: small", "name: s\nrollout: {temperature: 0}"),
    ("name: small", "name: s\nevaluate: {on: [{use: nothing}]}"),
    ("[{use: maths}]", "{use: maths}"),
    ("mentorkit: 1", "mentorkit: 2"),
    ("mentorkit: 1", "seed: 2"),
]


@pytest.mark.parametrize("change", RIGHT, ids=lambda change: change[1])
def test_right_recipes_are_valid(small: Draft202012Validator, change: tuple[str, str]) -> None:
    assert change[0] in SMALL
    small.validate(read(SMALL.replace(*change)))


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change[1])
def test_wrong_recipes_are_not(small: Draft202012Validator, change: tuple[str, str]) -> None:
    assert change[0] in SMALL
    assert not small.is_valid(read(SMALL.replace(*change)))


def test_every_reference_leads_somewhere(installed: Draft202012Validator) -> None:
    schema: Any = installed.schema

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert {found.removeprefix("#/$defs/") for found in references(schema)} <= schema["$defs"].keys()


def test_keys_are_described_for_editors(installed: Draft202012Validator) -> None:
    schema: Any = installed.schema
    assert schema["properties"]["seed"]["description"].endswith(".")
