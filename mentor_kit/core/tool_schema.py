"""Validates the JSON schemas of tools' parameters, and the arguments of calls against them.

A schema is read by its own dialect (`$schema`). One that names none is of draft 2020-12, or of draft 7 where it is none
of that. References lead inside the schema: nothing is fetched. Patterns are ECMA-262's, translated to Python's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.patterns import python_pattern

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

#: Keywords that hold one schema, a list of them, or a mapping to them; other values there are ignored.
_ONE_OR_MORE = (
    *("additionalItems", "additionalProperties", "allOf", "anyOf", "contains", "contentSchema", "disallow", "else"),
    *("extends", "if", "items", "not", "oneOf", "prefixItems", "propertyNames", "then", "type"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_BY_NAME = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties")
#: Those whose schemas apply to the same value as the schema that has them.
_SAME_VALUE = ("allOf", "anyOf", "dependencies", "dependentSchemas", "else", "extends", "if", "not", "oneOf", "then")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
#: The identifier of the newest dialect.
_NEWEST = "http://json-schema.org/schema"
_DRAFT_7 = "http://json-schema.org/draft-07/schema"
#: Keywords that hold values, for which null is valid.
_VALUES = ("const", "default", "enum", "examples")

Place = tuple[str | int, ...]


def schema_fault(parameters: Any) -> str:
    """Return why the parameters are not a valid schema of a tool, in one line; empty if they are."""
    return _read(parameters).fault


def argument_fault(parameters: Mapping[str, Json], arguments: Mapping[str, Json]) -> str:
    """Return why arguments do not match a valid schema, in one line; empty if they do."""
    schema = _read(parameters)
    try:
        error = next(iter(cast("Validator", schema.validator).iter_errors(dict(arguments))), None)
    except OverflowError:  # jsonschema divides by a `multipleOf` that is no whole number
        return "a number is too large"
    except RecursionError:
        return "the arguments are nested too deeply"
    if error is None:
        return ""
    message = error.message
    for translated, written in schema.patterns.items():
        message = message.replace(repr(translated), repr(written))
    place = ".".join(str(step) for step in error.absolute_path)
    text = message if len(message) <= 200 else message[:197] + "..."
    return f"{place}: {text}" if place else text


def schema_of(parameters: Mapping[str, Json], parameter: str) -> Mapping[str, Json] | bool | None:
    """Return the schema of one parameter; None if it has none."""
    properties = parameters.get("properties")
    named = properties.get(parameter) if isinstance(properties, Mapping) else None
    schema = parameters.get("additionalProperties") if named is None else named
    return schema if isinstance(schema, Mapping | bool) else None


def parameter_takes(parameters: Mapping[str, Json], parameter: str, value: Json) -> bool:
    """Return whether a valid schema allows a value for a parameter; False if the parameter has no schema."""
    validator: Any = _read(parameters).validator
    schema = schema_of(validator.schema, parameter)
    if schema is None:
        return False
    try:
        # within the whole schema, which its references refer to
        return bool(validator.evolve(schema=schema).is_valid(value))
    except (OverflowError, RecursionError):
        return False


def without_nulls(schema: Json) -> Json:
    """Return the schema without keywords that are null."""
    if not isinstance(schema, dict):
        return schema
    changed = _with_inner(schema, lambda inner, _: without_nulls(inner))
    return {keyword: held for keyword, held in changed.items() if held is not None or keyword in _VALUES}


@dataclass(frozen=True)
class _Schema:
    """A parsed schema: its fault, or its validator."""

    fault: str
    validator: Validator | None = None
    patterns: dict[str, str] = field(default_factory=dict)
    """The original patterns, by their translations to Python's syntax."""


def _read(parameters: Any) -> _Schema:
    if not isinstance(parameters, Mapping):
        return _Schema(f"expected a JSON schema of type object, not {parameters!r}")
    try:
        return _read_text(json.dumps(dict(parameters)))
    except (TypeError, ValueError) as error:
        return _Schema(f"it is not JSON: {error}")
    except RecursionError:
        return _Schema("it is nested too deeply")


@lru_cache(maxsize=4096)
def _read_text(text: str) -> _Schema:
    """Cached by JSON string, since sources make equal schemas for every episode."""
    schema: dict[str, Json] = json.loads(text)
    if schema.get("type") != "object":
        return _Schema(f'its type is {json.dumps(schema.get("type"))}, and must be "object"')
    name = str(schema.get("$schema", _NEWEST)).rstrip("#")
    if (dialect := _dialect(name)) is None:
        known = "expected one of JSON Schema's drafts 3 to 2020-12"
        return _Schema(f"its dialect ($schema) {schema['$schema']!r} is not known; {known}")
    found = _read_as(schema, dialect)
    if found.fault and "$schema" not in schema:
        # many servers write `items` as a list and name no dialect
        older = _read_as(schema, _dialect(_DRAFT_7))
        return found if older.fault else older
    return found


def _read_as(schema: dict[str, Json], dialect: Any) -> _Schema:
    from jsonschema import SchemaError
    from referencing.jsonschema import EMPTY_REGISTRY

    patterns: dict[str, str] = {}
    try:
        schema = _in_python(schema, (), patterns)
        dialect.check_schema(schema)
    except ValueError as error:
        return _Schema(str(error))
    except SchemaError as error:
        return _Schema(_placed(tuple(error.absolute_path), error.message))
    if fault := _reference_fault(schema, dialect):
        return _Schema(fault)
    # without this registry jsonschema would fetch a reference's target
    return _Schema("", dialect(schema, registry=EMPTY_REGISTRY), patterns)


def _dialect(name: str) -> Any:
    """Return the validator of a dialect; None where it is unknown."""
    from jsonschema import validators

    newest = validators.Draft202012Validator
    if name == _NEWEST:
        return newest
    found = (validators.validator_for({"$schema": spelling}, default=newest) for spelling in (name, f"{name}#"))
    return next((one for one in found if str(one.META_SCHEMA["$schema"]).rstrip("#") == name), None)


def _in_python(schema: Json, place: Place, patterns: dict[str, str]) -> Json:
    """Return the schema with its patterns in Python's syntax; each original is recorded.

    Raises:
        ValueError: a pattern has no equivalent.
    """
    if not isinstance(schema, dict):
        return schema

    def pattern(text: str, place: Place) -> str:
        try:
            translated = python_pattern(text)
        except ValueError as error:
            raise ValueError(_placed(place, str(error))) from None
        if translated != text:
            patterns[translated] = text
        return translated

    changed = _with_inner(schema, lambda inner, steps: _in_python(inner, (*place, *steps), patterns))
    if isinstance(schema.get("pattern"), str):
        changed["pattern"] = pattern(schema["pattern"], (*place, "pattern"))
    if isinstance(by_pattern := changed.get("patternProperties"), dict):
        at = (*place, "patternProperties")
        changed["patternProperties"] = {pattern(key, at): inner for key, inner in by_pattern.items()}
    return changed


def _inside(schema: Mapping[str, Json]) -> Iterator[tuple[str, Any, Json]]:
    """Yield the schemas inside one: keyword, index or name (None where there is only one), schema."""
    for keyword in _ONE_OR_MORE:
        held = schema.get(keyword)
        if isinstance(held, dict):
            yield keyword, None, held
        elif isinstance(held, list):
            yield from ((keyword, index, inner) for index, inner in enumerate(held) if isinstance(inner, dict))
    for keyword in _BY_NAME:
        held = schema.get(keyword)
        if isinstance(held, dict):
            yield from ((keyword, name, inner) for name, inner in held.items() if isinstance(inner, dict))


def _with_inner(schema: Mapping[str, Json], change: Callable[[Json, Place], Json]) -> dict[str, Json]:
    """Return the schema with those inside it changed; `change` gets each with its keyword, and its index or name."""
    changed = {keyword: held.copy() if isinstance(held, dict | list) else held for keyword, held in schema.items()}
    for keyword, key, inner in _inside(schema):
        new = change(inner, _steps(keyword, key))
        if key is None:
            changed[keyword] = new
        else:
            changed[keyword][key] = new
    return changed


def _reference_fault(schema: Json, dialect: Any) -> str:
    """Return the first reference that leads to no schema, out of the schema, or in a circle; empty if there is none."""
    from jsonschema import SchemaError
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY, specification_with

    specification = specification_with(str(dialect.META_SCHEMA["$schema"]))
    waiting: list[tuple[Json, Any, Place]] = [
        (schema, EMPTY_REGISTRY.resolver_with_root(specification.create_resource(schema)), ())
    ]
    # schemas that apply to the same value, by identity: a path among them that returns to its start never ends
    same: dict[int, list[int]] = {}
    while waiting:
        node, resolver, place = waiting.pop()
        if not isinstance(node, dict) or id(node) in same:
            continue
        resolver = resolver.in_subresource(specification.create_resource(node))
        inner = list(_inside(node))
        same[id(node)] = [id(found) for keyword, _, found in inner if keyword in _SAME_VALUE]
        for keyword in _REFERENCES:
            if not isinstance(reference := node.get(keyword), str):
                continue
            try:
                found = resolver.lookup(reference)
                # a reference may lead to a place that the metaschema does not validate
                dialect.check_schema(found.contents)
            except Unresolvable:
                far = not reference.startswith("#")
                why = "leads out of the schema, and nothing is fetched" if far else "leads nowhere"
                return _placed((*place, keyword), f"the reference {reference!r} {why}")
            except SchemaError as error:
                return _placed((*place, keyword), f"the reference {reference!r} leads to no schema: {error.message}")
            same[id(node)].append(id(found.contents))
            waiting.append((found.contents, found.resolver, (*place, keyword)))
        waiting += [(found, resolver, (*place, *_steps(keyword, key))) for keyword, key, found in inner]
    return "its references go in a circle" if _has_circle(same) else ""


def _has_circle(graph: Mapping[int, list[int]]) -> bool:
    done: set[int] = set()
    for start in graph:
        path: dict[int, Iterator[int]] = {start: iter(graph[start])} if start not in done else {}
        while path:
            node = next(reversed(path))
            after = next(path[node], None)
            if after is None:
                done.add(node)
                del path[node]
            elif after in path:
                return True
            elif after not in done:
                path[after] = iter(graph.get(after, ()))
    return False


def _steps(keyword: str, key: Any) -> Place:
    return (keyword,) if key is None else (keyword, key)


def _placed(place: Place, message: str) -> str:
    return f"{'.'.join(map(str, place))}: {message}" if place else message
