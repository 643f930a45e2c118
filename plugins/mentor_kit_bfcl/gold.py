"""Gold answers as calls, for the teacher `scripted`."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem

#: BFCL's mark among the values of a parameter that may be left out.
_OPTIONAL = ""


def gold_calls(problem: Problem, *, dots: bool) -> list[ToolCall]:
    """Calls that are right, for a problem of one turn; none where nothing is to be called."""
    if problem.split == "live_relevance":
        # any call is right
        return [ToolCall(name=problem.tools[0].name)]
    calls = []
    for answer in json.loads(problem.answer):
        ((name, parameters),) = answer.items()
        described = next(f["parameters"] for f in problem.extra["functions"] if f["name"] == name)
        arguments = dict(_arguments(parameters, described, problem.split))
        calls.append(ToolCall(name=name if dots else name.replace(".", "_"), arguments=arguments))
    return calls


def _arguments(gold: Mapping[str, Any], described: Mapping[str, Any], category: str) -> Iterator[tuple[str, Json]]:
    """A right value for every parameter that has to be there."""
    for name, values in gold.items():
        if name not in described["properties"]:
            continue  # some gold answers name parameters that their function does not have, as ones to leave out
        value = chosen(values)
        if value is not None:
            yield name, written(value, described["properties"][name], category)
        elif name in described.get("required", ()):
            yield name, _OPTIONAL


def chosen(values: Sequence[Json]) -> Json:
    """The first value that is right, or None where a parameter is to be left out."""
    value = next((value for value in values if value != _OPTIONAL), None)
    return _plain(value)


def _plain(value: Json) -> Json:
    """A gold value without its alternatives: records list what each of their keys may be."""
    if isinstance(value, Mapping):
        found = {key: chosen(values) if isinstance(values, list) else values for key, values in value.items()}
        return {key: item for key, item in found.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def written(value: Json, described: Mapping[str, Any], category: str) -> Json:
    """A value as the category wants it: of Java and JavaScript as text in that language."""
    kind = described["type"]
    if category == "simple_java":
        return java(value, kind, described.get("items", {}).get("type"))
    if category == "simple_javascript" and (not isinstance(value, str) or kind == "String"):
        return f"{value}n" if kind == "Bigint" else json.dumps(value, ensure_ascii=False)
    return value


def java(value: Json, kind: str, inner: str | None) -> str:
    """A value as Java writes it, and as bfcl-eval reads it: it takes texts without quotes, but in collections."""
    if isinstance(value, str):
        return value
    if kind == "HashMap":
        puts = " ".join(f"put({_literal(key)}, {_literal(item)});" for key, item in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    if kind == "Array":
        items = ", ".join(str(item) if inner == "String" else _literal(item) for item in value)
        return f"new Object[]{{{items}}}"
    if kind == "ArrayList":
        return f"new ArrayList<>(Arrays.asList({', '.join(map(_literal, value))}))"
    return _literal(value) + {"long": "L", "float": "f"}.get(kind, "")


def _literal(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def gold_turn(problem: Problem, turn: int) -> list[ToolCall]:
    """The gold calls of one turn of a conversation."""
    described: Mapping[str, Any] = {tool["name"]: tool["parameters"] for tool in problem.extra["tools"]}
    return [_read(text, described) for text in json.loads(problem.answer)[turn]]


def _read(text: str, described: Mapping[str, Any]) -> ToolCall:
    """A gold call such as `cd(folder='document')`, whose arguments are all literals."""
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"{text!r} is no call")
    names = list(described[call.func.id].get("properties", {}))
    arguments = {name: ast.literal_eval(value) for name, value in zip(names, call.args, strict=False)}
    arguments |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    return ToolCall(name=call.func.id, arguments=json.loads(json.dumps(arguments)))
