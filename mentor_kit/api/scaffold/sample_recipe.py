"""The recipe of a new plugin: that of the base example, with the chosen components in it and no others."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from mentor_kit.api.scaffold.samples import BASE, Offer, Sample

if TYPE_CHECKING:
    from ruamel.yaml import YAML

#: What stands in the place of a component that was not chosen.
_OTHERWISE: dict[Offer, tuple[str, str]] = {
    "tasks": ("task", "{use: arithmetic}"),
    "teachers": ("teacher", "{use: scripted}"),
}

#: The place of a component that the example's recipe does not have; `NAME` is the component's name.
_ADDED: dict[Offer, tuple[str, str]] = {
    "backends": ("backend", "{use: NAME, with: {width: 64}}"),
    "samplers": ("sampler", "{use: NAME}"),
    "students": ("student.model", "NAME"),
    "families": ("student.chat_template", "template.jinja"),
    "losses": ("objective.loss", "{use: NAME}"),
    "advantages": ("objective.advantage", "{use: NAME}"),
}

#: Lists of which a component that was not chosen is left out.
_LISTED: dict[Offer, str] = {"stages": "train", "evaluations": "evaluate.on", "trackers": "trackers"}


def sample_recipe(text: str, samples: Collection[Sample]) -> str:
    """Return the example's recipe for a plugin of these samples.

    Args:
        text: the example's own, which uses everything that the example has.
        samples: what the plugin has.
    """
    yaml, kinds = round_trip_yaml(), {sample.kind for sample in samples}
    recipe = yaml.load(text)
    for kind, (place, value) in _OTHERWISE.items():
        if kind not in kinds:
            _put(recipe, place, yaml.load(value))
    _put(recipe, "tools", yaml.load(_tools(kinds)))
    _reward(recipe, kinds, yaml)
    for kind, place in _LISTED.items():
        if kind not in kinds:
            _leave_out(recipe, place)
    for sample in samples:
        if sample.kind in _ADDED:
            place, value = _ADDED[sample.kind]
            name = sample.aliases[0] if sample.aliases else sample.example
            _put(recipe, place, yaml.load(value.replace("NAME", name)))
    if "students" in kinds:
        # without the comment, which is about the example's student
        values = ", ".join(f"{key}: {value}" for key, value in recipe["student"].items())
        recipe["student"] = yaml.load(f"{{{values}}}")
        recipe.ca.items.pop("student", None)
    stream = io.StringIO()
    yaml.dump(recipe, stream)
    return stream.getvalue().rstrip() + "\n"


def round_trip_yaml() -> YAML:
    """Reads and writes YAML with its comments and in its style."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 1 << 30
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _put(recipe: Any, place: str, value: Any) -> None:
    """Put a value at a dotted key; `objective` is that of the last stage."""
    *path, last = place.split(".")
    for key in path:
        recipe = recipe["train"][-1]["with"][key] if key == "objective" else recipe[key]
    recipe[last] = value


def _tools(kinds: Collection[Offer]) -> str:
    """The plugin's tools, alone where its own task is for them."""
    names = ([] if "tasks" in kinds else ["math"]) + ([BASE] if "tools" in kinds else [])
    return "".join(f"- {{use: {name}}}\n" for name in names)


def _reward(recipe: Any, kinds: Collection[Offer], yaml: YAML) -> None:
    """Keep the preset and the term, or whichever of them was chosen."""
    if "rewards" not in kinds and "reward_terms" not in kinds:
        recipe["reward"] = yaml.load("{use: mentor}")
    elif "rewards" not in kinds:
        (term,) = recipe["reward"]["with"]["also"]
        own = yaml.load("gates: [{use: ended, otherwise: 0.0}, {use: answered, otherwise: 0.1}]\nterms:\n")
        own["terms"] = yaml.load("- {use: correct, weight: 0.7}\n- {use: tool-match, weight: 0.3, when_wrong: 0.2}\n")
        own["terms"].append(term)
        recipe["reward"] = own
    elif "reward_terms" not in kinds:
        recipe["reward"] = yaml.load(f"{{use: {BASE}}}")


def _leave_out(recipe: Any, place: str) -> None:
    """Leave the example's components out of a list, and the list out of the recipe where it has no others."""
    *path, last = place.split(".")
    for key in path:
        recipe = recipe[key]
    for index in reversed(range(len(recipe[last]))):
        if recipe[last][index].get("use") == BASE:
            del recipe[last][index]
    if not recipe[last]:
        del recipe[last]
