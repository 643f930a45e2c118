"""The recipe as JSON Schema (draft 2020-12), with the options of every component the plugins offer."""

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
    """Return the schema by which editors complete and validate recipes.

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
    """Collects the schema's definitions: a kind's spec once, and every component's options under names of their own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._definitions: dict[str, Json] = {}

    def of_recipe(self) -> dict[str, Json]:
        """Return the recipe's schema with all its definitions."""
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
            spec = inner[node.pop("$ref").rsplit("/", 1)[-1].removeprefix(prefix)]
            name = f"{kind}:{spec['title']}"
            if name not in self._definitions:
                self._definitions[name] = {}
                self._definitions[name] = self._spec(kind, spec)
            return {"$ref": f"#/$defs/{name}", **node}

        filled = _walk(schema, fill)
        for name, definition in inner.items():
            self._definitions[f"{prefix}{name}"] = _walk(definition, fill)
        return filled

    def _spec(self, kind: Kind, spec: dict[str, Json]) -> dict[str, Json]:
        """Return the schema of a kind's components: a name where that is enough, or `use` with its options."""
        components = self._registry.components(kind)
        choices = [self._choice(component, spec) for component in components.values()]
        bare = [] if len(spec.get("required", ())) > 1 else [{"enum": list(components)}]
        return {"anyOf": [*bare, *choices]}

    def _choice(self, component: Component, spec: dict[str, Json]) -> dict[str, Json]:
        options = self._model(component.options, re.sub(r"[^\w:.-]", "_", f"{component.kind}:{component.name}:"))
        properties = {
            **spec["properties"],
            "use": {"enum": [component.name, f"{component.owner}:{component.name}"]},
            "with": options,
        }
        return {
            "type": "object",
            "description": component.summary,
            "properties": properties,
            "required": spec.get("required", ["use"]),
            "additionalProperties": False,
        }


def _walk(node: Node, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Node:
    """Return the tree with every mapping changed."""
    if isinstance(node, dict):
        return change({key: _walk(value, change) for key, value in node.items()})  # type: ignore[return-value]
    if isinstance(node, list):
        return [_walk(value, change) for value in node]  # type: ignore[return-value]
    return node
