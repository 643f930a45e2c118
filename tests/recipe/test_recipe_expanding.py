"""Recipes with every default written out: nothing is left out, and they are read as the same recipe again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator, model_validator

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import RecipeError
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import KINDS, Registry
from mentor_kit.recipe.changes import changes
from mentor_kit.recipe.checking import all_component_specs, check_recipe
from mentor_kit.recipe.expanding import dump_run, expanded
from mentor_kit.recipe.loading import load_recipe, recipe_names
from mentor_kit.recipe.settings import parse_settings


@pytest.mark.parametrize("name", recipe_names())
def test_every_default_of_every_part_is_written(name: str, tmp_path: Path) -> None:
    registry = default_registry()
    try:
        loaded = load_recipe(name)
    except RecipeError as error:  # a recipe that others extend is none by itself
        pytest.skip(str(error))
    data = expanded(loaded, registry)
    for kind, spec, path in all_component_specs(loaded.recipe, registry):
        node: Any = data
        for step in path:
            node = node[step]
        fields = registry.component(kind, spec.use).options.model_fields
        assert set(node["with"]) == {field.alias or name for name, field in fields.items()}, path
    # what a run keeps is the same recipe, and stays so when it is read and written again
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_run(loaded, registry, tmp_path), encoding="utf-8")
    again = load_recipe(file)
    check_recipe(again, registry)
    assert changes(loaded, again, registry) == []
    assert dump_run(again, registry, tmp_path) == dump_run(loaded, registry, tmp_path)


def backwards(value: Any) -> Any:
    """The same data with the keys of every mapping in reverse."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["quickstart", "laptop/qwen3-0.6b", "served/smollm2"])
def test_the_order_of_keys_does_not_depend_on_how_a_recipe_is_written(name: str) -> None:
    registry = default_registry()
    data = expanded(load_recipe(name), registry)
    again = expanded(load_recipe(backwards(data)), registry)
    assert json.dumps(again) == json.dumps(data)


def test_what_hangs_on_the_machine_is_not_kept_with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, base = default_registry(), ["tools=[{use: python, with: {module: math}}]"]
    loaded = load_recipe("quickstart", parse_settings(base))
    assert expanded(loaded, registry)["tools"][0]["with"]["workers"] >= 1
    assert "workers" not in dump_run(loaded, registry, tmp_path)
    assert "workers: 3" in dump_run(
        load_recipe("quickstart", parse_settings([*base, "tools.0.workers=3"])), registry, tmp_path
    )


def test_secrets_are_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_MINE", "sk-12345")
    tools = "tools=[{use: mcp, with: {url: 'http://x/mcp', headers: {Authorization: 'Bearer ${env:TOKEN_OF_MINE}'}}}]"
    loaded = load_recipe("quickstart", parse_settings([tools]))
    text = json.dumps(expanded(loaded, default_registry())) + dump_run(loaded, default_registry(), Path.cwd())
    assert "sk-12345" not in text
    assert text.count("Bearer ${env:TOKEN_OF_MINE}") == 2
    assert '"prefix": ""' in text


def knowing(options: type[BaseModel], monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry, with tools `odd` that have these options."""
    registry = Registry(default_registry().plugins)
    for kind in KINDS:
        registry.components(kind)
    odd = replace(registry.component("tools", "math"), options=options)
    monkeypatch.setattr(registry, "_named", lambda kind, name: [odd] if name == "odd" else named(kind, name))
    named = Registry._named.__get__(registry)
    return registry


class Reshaped(BaseModel):
    """Options whose validators give what is written another shape."""

    words: tuple[str, ...] = ()
    by_name: dict[str, str] = {}
    port: int = 0
    copied: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _reshape(cls, data: Any) -> Any:
        word = data.get("words", "")
        found = {**data, "words": (word,)} if isinstance(word, str) else dict(data)
        if isinstance(data.get("by_name"), str):
            found["by_name"] = {"key": data["by_name"]}
        return {**found, "copied": [str(word)]}


@pytest.mark.parametrize(
    "options", ["words: '${env:MINE}'", "by_name: '${env:MINE}'", "port: '${env:MINE}'", "words: ['${env:MINE}', b]"]
)
def test_secrets_are_references_whatever_they_become(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "47114711")
    known = knowing(Reshaped, monkeypatch)
    loaded = load_recipe("quickstart", parse_settings([f"tools=[{{use: odd, with: {{{options}}}}}]"]))
    text = json.dumps(expanded(loaded, known)["tools"])
    assert "47114711" not in text
    assert "${env:MINE}" in text


class Odd(BaseModel):
    """Options that are not read again as they are written."""

    seconds: float = 1.0
    more: int = Field(default=5)

    @field_validator("seconds", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        return float(value) * 60


def test_an_option_that_would_be_read_as_another_stays_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = knowing(Odd, monkeypatch)
    loaded = load_recipe("quickstart", {"tools": [{"use": "odd", "with": {"seconds": 2}}]})
    assert registry.check("tools", ComponentSpec(use="odd", options={"seconds": 2})) == Odd(seconds=2)
    assert expanded(loaded, registry)["tools"][0]["with"] == {"seconds": 2, "more": 5}


def test_of_a_default_that_is_refused_as_a_whole_the_entries_are_written() -> None:
    task = {"use": "conversations", "with": {"files": {"train": "a.jsonl"}}}
    loaded = load_recipe("quickstart", {"task": task})
    # the other options of a check, such as a tolerance, are refused for this one
    assert expanded(loaded, default_registry())["task"]["with"]["check"] == {"use": "calls"}


@pytest.mark.parametrize("preset", ["dapo", "rloo", "gspo", "cispo", "sod"])
def test_another_preset_of_an_expanded_objective_is_that_preset(preset: str, tmp_path: Path) -> None:
    registry, setting = default_registry(), f"train.0.objective.preset={preset}"
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_run(load_recipe("quickstart"), registry, tmp_path), encoding="utf-8")
    # the recipe's own value, which is not the preset's, stays in both
    assert (
        changes(
            load_recipe("quickstart", parse_settings([setting])),
            load_recipe(file, parse_settings([setting])),
            registry,
        )
        == []
    )


def test_a_runs_recipe_does_not_name_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "somebody"
    for place in ("project/recipes", "project/runs/x/1", "models/a"):
        (home / place).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    file = home / "project" / "recipes" / "mine.yaml"
    adapter = f"{{use: lora, with: {{path: {home}/adapters/a}}}}"
    student = f"{{model: {home}/models/a, checkpoint: ../runs/y/2, chat_template: {home}/t.jinja, adapter: {adapter}}}"
    file.write_text(f"extends: quickstart\nstudent: {student}\n", encoding="utf-8")
    loaded, registry = load_recipe(file), default_registry()
    near, far = home / "project" / "runs" / "x" / "1", tmp_path / "scratch" / "x" / "1"
    far.mkdir(parents=True)
    for run, folder in ((near, "../../../recipes"), (far, "~/project/recipes")):
        text = dump_run(loaded, registry, run)
        assert "somebody" not in text
        (run / "recipe.yaml").write_text(text, encoding="utf-8")
        again = load_recipe(run / "recipe.yaml")
        assert again.recipe.folder == folder
        assert again.folder == loaded.folder
        kept = again.recipe.student
        assert (kept.model, kept.checkpoint, kept.chat_template) == ("../../models/a", "../runs/y/2", "../../t.jinja")
        assert kept.adapter is not None
        assert kept.adapter.options.path == "../../adapters/a"
        assert changes(loaded, again, registry) == []
    # a template that is written out is no path
    written = load_recipe("quickstart", {"student.chat_template": "/{{ messages }}\n"})
    assert json.dumps("/{{ messages }}\n") in dump_run(written, registry, near)
