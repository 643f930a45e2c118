"""A recipe with every default written out, those of its components' options too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mentor_kit.core.component import ComponentSpec, Kind
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.checking import component_specs
from mentor_kit.recipe.loading import LoadedRecipe, recipe_as_data
from mentor_kit.recipe.python_values import as_data
from mentor_kit.recipe.source import Path_
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.utils.paths import portable_path

#: The student's keys that may be paths.
_PATHS = ("model", "chat_template", "checkpoint")

#: How a reference to a secret begins.
REFERENCE = "${env:"


def expanded(loaded: LoadedRecipe, registry: Registry, *, machine: bool = True) -> dict[str, Json]:
    """The recipe as data, with every component's own defaults, secrets as references.

    Args:
        loaded: the recipe.
        registry: the plugins.
        machine: also those defaults that depend on the machine, such as how many processes run side by side.
    """
    data = recipe_as_data(loaded)
    _fill(data, loaded.recipe, registry, (), machine)
    return data


def dump_run(loaded: LoadedRecipe, registry: Registry, run: Path) -> str:
    """The recipe as a run keeps it in its folder: as YAML, with every default that is the same on every machine.

    Its `folder` is relative to the run's folder, and no path of the recipe itself names the user's home.
    """
    return to_yaml(portable(expanded(loaded, registry, machine=False), loaded.folder, run))


def portable(data: dict[str, Json], folder: Path, run: Path) -> dict[str, Json]:
    """An expanded recipe whose own paths do not name the user's home; those in options of components are as written.

    Args:
        data: the recipe, expanded.
        folder: what its paths are relative to.
        run: what its `folder` is relative to.
    """

    def written(name: Json) -> Json:
        is_path = isinstance(name, str) and "\n" not in name and Path(name).is_absolute()
        return portable_path(Path(name), folder) if is_path else name

    student = {key: written(value) if key in _PATHS else value for key, value in data["student"].items()}
    if student.get("adapter"):
        options = student["adapter"]["with"]
        student["adapter"] = student["adapter"] | {"with": options | {"path": written(options.get("path"))}}
    return data | {"folder": portable_path(folder, run), "student": student}


def _fill(data: Any, model: Any, registry: Registry, path: Path_, machine: bool) -> None:
    """Fill in all options with their defaults, those of nested component specs too."""
    for kind, spec, place in component_specs(model, path):
        try:
            options = registry.check(kind, spec)
        except MentorKitError:
            continue  # what is wrong with it is for `check` to say
        node = data
        for step in place:
            node = node[step]
        filled = _as_written(as_data(options), node["with"])
        if not machine:
            filled = _without_machine(options, filled, node["with"])
        node["with"] = _readable(filled, node["with"], partial(_means, options, registry, kind, spec))
        _fill(data, options, registry, (*place, "with"), machine)


def _readable(filled: dict[str, Json], written: dict[str, Json], means: Callable[[Json], bool]) -> dict[str, Json]:
    """The options with as many defaults written out as leave them what they are.

    Some options refuse others beside them, even with their defaults, such as a tolerance for answers that are strings.
    """
    if means(filled):
        return filled
    kept = deepcopy(written)
    for path, value in _missing(filled, written):
        kept = _with(kept, path, value, means)
    return kept


def _with(options: dict[str, Json], path: Path_, value: Json, means: Callable[[Json], bool]) -> dict[str, Json]:
    """The options with a value at a place, or with as much of a record as leaves them what they are."""
    tried = deepcopy(options)
    node: Any = tried
    for step in path[:-1]:
        node = node.setdefault(step, {})
    node[path[-1]] = value
    if means(tried):
        return tried
    for key, inner in value.items() if isinstance(value, dict) else ():
        options = _with(options, (*path, key), inner, means)
    return options


def _missing(filled: Json, written: Json, path: Path_ = ()) -> Iterator[tuple[Path_, Json]]:
    """What is filled in and not written: the places, with the values."""
    for key, value in filled.items():
        if key not in written:
            yield (*path, key), value
        elif isinstance(value, dict) and isinstance(written[key], dict):
            yield from _missing(value, written[key], (*path, key))


def _means(options: BaseModel, registry: Registry, kind: Kind, spec: ComponentSpec, filled: Json) -> bool:
    """Whether the options, written out, are read as what they are: a plugin's own validators may change them again."""
    try:
        again = registry.check(kind, ComponentSpec(use=spec.use, options=filled))
    except MentorKitError:
        # a reference to a secret is none yet
        return REFERENCE in str(filled)
    return bool(again == options) or REFERENCE in str(filled)


def _as_written(options: Json, written: Json) -> Json:
    """Checked options, with strings as they are written, and references to secrets whatever they became."""
    if isinstance(written, str) and REFERENCE in written:
        return written
    if isinstance(options, dict):
        inside = written if isinstance(written, dict) else {}
        return {hide(key): _as_written(value, inside.get(key)) for key, value in options.items()}
    if isinstance(options, list):
        items = written if isinstance(written, list) and len(written) == len(options) else [None] * len(options)
        return [_as_written(*pair) for pair in zip(options, items, strict=True)]
    if isinstance(options, str):
        return written if isinstance(written, str) else hide(options)
    return options


def _without_machine(options: BaseModel, filled: dict[str, Json], written: dict[str, Json]) -> dict[str, Json]:
    """Without what a model works out afresh on every machine, where the recipe does not write it."""
    made = {field.alias or name for name, field in type(options).model_fields.items() if field.default_factory}
    return {key: value for key, value in filled.items() if key not in made or key in written}
