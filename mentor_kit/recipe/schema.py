"""The recipe as JSON Schema (draft 2020-12), with the options of every part the plugins offer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from mentor_kit.core.component import FILLS, Kind
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.registry import KINDS, Component, Registry
from mentor_kit.recipe.model import Recipe

Node = TypeVar("Node")


def recipe_schema(registry: Registry) -> dict[str, Json]:
    """A schema that editors complete and check recipes by.

    Recipes that extend another leave keys out, so nothing but `mentorkit` or `extends` is required.
    """
    schema = _Definitions(registry).of_recipe()
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "A recipe that this one changes: a file, or a name.",
    }
    schema.pop("required", None)
    schema["anyOf"] = [{"required": ["mentorkit"]}, {"required": ["extends"]}]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


class _Definitions:
    """Collects the schema's definitions: a kind's slot once, and every part's options under names of their own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._definitions: dict[str, Json] = {}

    def of_recipe(self) -> dict[str, Json]:
        """The recipe's schema with all definitions it needs."""
        schema = self._model(Recipe, "")
        return {**schema, "$defs": dict(sorted(self._definitions.items()))}

    def _model(self, model: type[BaseModel], prefix: str) -> dict[str, Json]:
        """A model's schema; what it defines is named with a prefix, since two plugins may use the same names."""
        schema = model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{prefix}{{model}}")
        inner = schema.pop("$defs", {})

        def fill(node: dict[str, Json]) -> dict[str, Json]:
            if node.get(FILLS) not in KINDS:
                return node
            kind = node.pop(FILLS)
            slot = inner[node.pop("$ref").rsplit("/", 1)[-1].removeprefix(prefix)]
            name = f"{kind}:{slot['title']}"
            if name not in self._definitions:
                self._definitions[name] = {}
                self._definitions[name] = self._slot(kind, slot)
            return {"$ref": f"#/$defs/{name}", **node}

        filled = _walk(schema, fill)
        for name, definition in inner.items():
            self._definitions[f"{prefix}{name}"] = _walk(definition, fill)
        return filled

    def _slot(self, kind: Kind, slot: dict[str, Json]) -> dict[str, Json]:
        """Any of a kind's parts: a bare name where that is enough, or `use` with the part's own options."""
        parts = self._registry.components(kind)
        choices = [self._choice(part, slot) for part in parts.values()]
        bare = [] if len(slot.get("required", ())) > 1 else [{"enum": list(parts)}]
        return {"anyOf": [*bare, *choices]}

    def _choice(self, part: Component, slot: dict[str, Json]) -> dict[str, Json]:
        options = self._model(part.options, re.sub(r"[^\w:.-]", "_", f"{part.kind}:{part.name}:"))
        properties = {**slot["properties"], "use": {"enum": [part.name, f"{part.owner}:{part.name}"]}, "with": options}
        return {
            "type": "object",
            "description": part.summary,
            "properties": properties,
            "required": slot.get("required", ["use"]),
            "additionalProperties": False,
        }


def _walk(node: Node, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Node:
    """The same tree, every mapping in it changed."""
    if isinstance(node, dict):
        return change({key: _walk(value, change) for key, value in node.items()})  # type: ignore[return-value]
    if isinstance(node, list):
        return [_walk(value, change) for value in node]  # type: ignore[return-value]
    return node
