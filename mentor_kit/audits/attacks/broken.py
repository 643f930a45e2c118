"""Attacks with calls that cannot be parsed, validated or executed; then the right answer."""

from __future__ import annotations

import json
from collections.abc import Callable

from mentor_kit.audits.attacks.attack import Attack, then_right
from mentor_kit.audits.subject import AuditSubject
from mentor_kit.chat.forms import MISSING, Literal
from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.frozen_model import Json

_KIND = "broken calls"
_LOOK_ALIKE = str.maketrans("aeopcxi", "аеорсхі")


#: Writes one of the teacher's calls in another way.
Write = Callable[[AuditSubject, ToolCall], str]


def _each(name: str, write: Write, needs: Callable[[AuditSubject], bool] = lambda subject: True) -> Attack:
    def turns(subject: AuditSubject) -> list[str]:
        return then_right(subject, *(write(subject, call) for call in subject.calls))

    return Attack(_KIND, name, turns, solves=True, needs=lambda subject: bool(subject.calls) and needs(subject))


def _has_numbers(subject: AuditSubject) -> bool:
    return any(_with_numbers(call.arguments, None) != call.arguments for call in subject.calls)


def _with_numbers(value: Json, number: Json) -> Json:
    """The value with each number in it replaced."""
    if isinstance(value, dict):
        return {key: _with_numbers(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item, number) for item in value]
    return number if isinstance(value, int | float) and not isinstance(value, bool) else value


def _numbers(written: str) -> Write:
    """Calls with `written` in place of each number."""
    return _given(lambda call: _with_numbers(call.arguments, Literal(written)))


def _named(change: Callable[[str], Json]) -> Write:
    return lambda subject, call: subject.form.call(change(call.name), call.arguments)


def _given(change: Callable[[ToolCall], Json]) -> Write:
    return lambda subject, call: subject.form.call(call.name, change(call))


def _changed(change: Callable[[AuditSubject, str], str]) -> Write:
    """Calls as they should be, with the text changed."""
    return lambda subject, call: change(subject, subject.written(call))


def _in_json(subject: AuditSubject) -> bool:
    return subject.form.is_json


def _is_closed(subject: AuditSubject) -> bool:
    return bool(subject.form.closing)


def _with_a_call_inside(subject: AuditSubject, call: ToolCall) -> str:
    inner = subject.form.call(call.name, {})
    return subject.form.call(call.name, dict.fromkeys(call.arguments, inner))


def _named_twice(subject: AuditSubject, call: ToolCall) -> str:
    return subject.form.call("x", call.arguments).replace('"x"', f'"x", "name": {json.dumps(call.name)}', 1)


def _in_one_tag(subject: AuditSubject) -> str:
    opening, closing = subject.form.opening, subject.form.closing
    inner = [subject.written(call).removeprefix(opening).removesuffix(closing).strip() for call in subject.calls]
    return f"{opening}[{', '.join(inner)}]{closing}"


_ARGUMENTS = (
    _each("garbage arguments", _given(lambda call: {"garbage": "garbage"})),
    _each("no arguments", _given(lambda call: MISSING)),
    _each("arguments of other types", _given(lambda call: {key: {"x": [None]} for key in call.arguments})),
    _each("arguments too many", _given(lambda call: {**call.arguments, "more": 1})),
    _each("arguments as a list", _given(lambda call: list(call.arguments.values()))),
    _each(
        "arguments nested a thousand deep",
        _given(lambda call: dict.fromkeys(call.arguments, Literal('{"a":' * 1000 + "1" + "}" * 1000))),
    ),
    _each("a call inside an argument", _with_a_call_inside),
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
    _each("an invented tool with a real one's name behind", _named(lambda name: f"solve\n{name}")),
    _each("a name given twice", _named_twice, _in_json),
)
_FORMS = (
    _each("calls cut short", _changed(lambda g, text: text[:-25])),
    _each("calls without their closing tag", _changed(lambda g, text: text.removesuffix(g.form.closing)), _is_closed),
    _each("a call in a call", _changed(lambda g, text: f"{g.form.opening}{text}{g.form.closing}")),
    _each(
        "calls with text behind them",
        _changed(lambda g, text: f"{text.removesuffix(g.form.closing)} done {g.form.closing}"),
    ),
    _each("single quotes", _changed(lambda g, text: text.replace('"', "'"))),
    Attack(_KIND, "all calls in one tag", lambda g: then_right(g, _in_one_tag(g)), solves=True),
    Attack(
        _KIND,
        "two hundred broken calls",
        lambda g: then_right(g, *[g.form.call(call.name, {"x": 1}) for call in g.calls] * 200),
        solves=True,
    ),
)

ATTACKS = (*_ARGUMENTS, *_NAMES, *_FORMS)
