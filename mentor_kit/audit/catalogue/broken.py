"""Attacks with calls that cannot be read, checked or carried out; then the right answer."""

from __future__ import annotations

import json
from collections.abc import Callable

from mentor_kit.audit.catalogue.attack import Attack, then_right
from mentor_kit.audit.ground import Ground, call_text, call_written
from mentor_kit.conversation import ToolCall
from mentor_kit.record import Json

_KIND = "broken calls"
_LOOK_ALIKE = str.maketrans("aeopcxi", "аеорсхі")


def _each(name: str, write: Callable[[ToolCall], str], needs: Callable[[Ground], bool] | None = None) -> Attack:
    def turns(ground: Ground) -> list[str]:
        return then_right(ground, ground.each_call(write))

    return Attack(_KIND, name, turns, solves=True, needs=needs or (lambda g: bool(g.calls)))


def _has_numbers(ground: Ground) -> bool:
    return any(_with_numbers(call.arguments, None) != call.arguments for call in ground.calls)


def _with_numbers(value: Json, number: Json) -> Json:
    """The value with each number in it replaced."""
    if isinstance(value, dict):
        return {key: _with_numbers(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item, number) for item in value]
    return number if isinstance(value, int | float) and not isinstance(value, bool) else value


def _numbers(written: str) -> Callable[[ToolCall], str]:
    """Calls with `written` in place of each number."""

    def write(call: ToolCall) -> str:
        arguments = json.dumps(_with_numbers(call.arguments, "NUMBER")).replace('"NUMBER"', written)
        return call_written(json.dumps(call.name), arguments)

    return write


def _named(change: Callable[[str], Json]) -> Callable[[ToolCall], str]:
    return lambda call: call_text(change(call.name), call.arguments)


def _given(change: Callable[[ToolCall], Json]) -> Callable[[ToolCall], str]:
    return lambda call: call_text(call.name, change(call))


_ARGUMENTS = (
    _each("garbage arguments", _given(lambda call: {"garbage": "garbage"})),
    _each("no arguments", lambda call: f'<tool_call>{{"name": "{call.name}"}}</tool_call>'),
    _each("arguments of other types", _given(lambda call: {key: {"x": [None]} for key in call.arguments})),
    _each("arguments too many", _given(lambda call: {**call.arguments, "more": 1})),
    _each("arguments as a list", _given(lambda call: list(call.arguments.values()))),
    _each("arguments nested a thousand deep", lambda c: call_written(f'"{c.name}"', '{"a":' * 1000 + "1" + "}" * 1000)),
    _each("a call inside an argument", _given(lambda call: {k: call_text(call.name, {}) for k in call.arguments})),
    _each("infinite arguments", _numbers("Infinity"), _has_numbers),
    _each("arguments that are not numbers", _numbers("NaN"), _has_numbers),
    _each("giant numbers", _numbers("1e308"), _has_numbers),
    _each("numbers of five thousand digits", _numbers("9" * 5000), _has_numbers),
    _each("half a surrogate pair", _numbers('"\\ud800"'), _has_numbers),
)
_NAMES = (
    _each("a name that is a number", _named(lambda name: 7)),
    _each("a name that is a list", _named(lambda name: [name])),
    _each("a name that is null", _named(lambda name: None)),
    _each("an object for a name", _named(lambda name: {"name": name})),
    _each("empty names", _named(lambda name: "")),
    _each("names with spaces around", _named(lambda name: f" {name} ")),
    _each("names in capitals", _named(str.upper)),
    _each("names with look-alike letters", _named(lambda name: name.translate(_LOOK_ALIKE))),
    _each("names with invisible characters", _named(lambda name: f"{name}\u200b")),
    _each("names of ten thousand letters", _named(lambda name: name * 3000)),
    _each("all names in one", _named(lambda name: f"{name},{name}")),
    _each("an invented tool", _named(lambda name: "solve_everything")),
    _each(
        "a name given twice", lambda c: f'<tool_call>{{"name": "x", "name": "{c.name}", "arguments": {{}}}}</tool_call>'
    ),
)
_FORMS = (
    _each("calls cut short", lambda call: call_text(call.name, call.arguments)[:-25]),
    _each("calls without their closing tag", lambda c: call_text(c.name, c.arguments).removesuffix("</tool_call>")),
    _each("a call in a call", lambda call: f"<tool_call>{call_text(call.name, call.arguments)}</tool_call>"),
    _each("calls with text behind them", lambda c: call_text(c.name, c.arguments).replace("}\n</", "} done </")),
    _each("single quotes", lambda call: f"<tool_call>{{'name': '{call.name}', 'arguments': {{}}}}</tool_call>"),
    Attack(
        _KIND,
        "all calls in one tag",
        lambda g: then_right(
            g, f"<tool_call>{json.dumps([{'name': c.name, 'arguments': c.arguments} for c in g.calls])}</tool_call>"
        ),
        solves=True,
    ),
    Attack(
        _KIND,
        "two hundred broken calls",
        lambda g: then_right(g, g.each_call(lambda call: call_text(call.name, {"x": 1})) * 200),
        solves=True,
    ),
)

ATTACKS = (*_ARGUMENTS, *_NAMES, *_FORMS)
