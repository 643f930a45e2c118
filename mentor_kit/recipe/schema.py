"""The recipe as JSON Schema (draft 2020-12), with the options of every part the plugins offer."""

from __future__ import annotations

from typing import Any

from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.model import Recipe
from mentor_kit.record import Json
from mentor_kit.slot import Kind

#: The recipe's keys that hold slots, with the kind that fills them, and whether they are lists.
_SLOTS: dict[str, tuple[Kind, bool]] = {
    "backend": ("backends", False),
    "task": ("tasks", False),
    "tools": ("tools", True),
    "teacher": ("teachers", False),
    "train": ("stages", True),
    "trackers": ("trackers", True),
}


def recipe_schema(registry: Registry) -> dict[str, Json]:
    """A schema that editors complete and check recipes by.

    Recipes that extend another leave keys out, so nothing but `mentorkit` or `extends` is required.
    """
    schema = Recipe.model_json_schema(by_alias=True)
    definitions = schema.setdefault("$defs", {})
    properties = schema["properties"]
    for key, (kind, listed) in _SLOTS.items():
        slot = _slot(kind, registry, definitions)
        properties[key] = {"type": "array", "items": slot} if listed else slot
    inline = {"$ref": "#/$defs/RewardSpec"}
    properties["reward"] = {"anyOf": [_slot("rewards", registry, definitions), inline]}
    properties["extends"] = {"type": "string", "description": "A recipe that this one changes: a file, or a name."}
    schema.pop("required", None)
    schema["anyOf"] = [{"required": ["mentorkit"]}, {"required": ["extends"]}]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def _slot(kind: Kind, registry: Registry, definitions: dict[str, Json]) -> dict[str, Json]:
    """Any of the kind's parts: a bare name, or `use` with the part's own options."""
    choices: list[Json] = [{"enum": list(registry.parts(kind))}]
    for name, part in registry.parts(kind).items():
        options = _options(part.options, definitions)
        choices.append(
            {
                "type": "object",
                "description": part.summary,
                "properties": {"use": {"const": name}, "with": options},
                "required": ["use"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": choices}


def _options(model: Any, definitions: dict[str, Json]) -> dict[str, Json]:
    """An options model's schema; what it defines is moved up to the schema's own definitions."""
    schema: dict[str, Json] = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    return schema
