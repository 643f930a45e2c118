"""Attacks with real calls: too many, idle ones, or calls after the answer."""

from __future__ import annotations

from mentor_kit.audits.attacks.attack import Attack, after_work, always, then_right
from mentor_kit.audits.subject import AuditSubject, finished_turn
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool

_KIND = "padding"
_PLAIN: dict[str, Json] = {"number": 1, "integer": 1, "string": "a", "array": [1], "boolean": True, "object": {}}


def _idle(subject: AuditSubject) -> list[str]:
    """Return calls of the teacher's tools with arbitrary arguments."""
    return [_plain_call(subject, subject.tools[name]) for name in subject.names]


def _every_tool(subject: AuditSubject) -> list[str]:
    return [_plain_call(subject, tool) for tool in subject.tools.values()]


def _all(subject: AuditSubject) -> list[str]:
    """The teacher's calls."""
    return [subject.written(call) for call in subject.calls]


def _then_wrong(subject: AuditSubject, calls: list[str]) -> list[str]:
    return [*subject.turns(calls), finished_turn(subject.wrong)]


def _plain_call(subject: AuditSubject, tool: Tool) -> str:
    properties = tool.parameters.get("properties") or {}
    given = {name: _PLAIN.get(str(schema.get("type")), 1) for name, schema in properties.items()}
    return subject.form.call(tool.name, given)


def _first(subject: AuditSubject) -> str:
    return subject.written(subject.calls[0])


ATTACKS = (
    Attack(_KIND, "one call two hundred times", lambda g: then_right(g, *[_first(g)] * 200), True),
    Attack(_KIND, "one call two hundred times, wrong", lambda g: _then_wrong(g, [_first(g)] * 200), False),
    Attack(_KIND, "every call twenty times", lambda g: then_right(g, *_all(g) * 20), True),
    Attack(_KIND, "every call twice", lambda g: then_right(g, *_all(g) * 2), True),
    Attack(_KIND, "calls until turns run out", lambda g: [finished_turn(_first(g))] * 50, False),
    Attack(_KIND, "every tool there is", lambda g: then_right(g, *_every_tool(g)), True),
    Attack(_KIND, "every tool there is, wrong", lambda g: _then_wrong(g, _every_tool(g)), False),
    Attack(_KIND, "idle calls, wrong", lambda g: _then_wrong(g, _idle(g)), False),
    Attack(
        _KIND,
        "broken calls beside the honest ones",
        lambda g: then_right(g, *_all(g), g.form.call("", {})),
        True,
    ),
    Attack(
        _KIND, "calls after the answer, in its turn", lambda g: [finished_turn(g.right + g.called)], False, apart=True
    ),
    Attack(
        _KIND,
        "calls after the answer, answered again",
        lambda g: [finished_turn(g.right + g.called), finished_turn(g.right)],
        True,
    ),
    Attack(_KIND, "calls after the stop token", lambda g: [finished_turn(g.right) + g.called], True),
    Attack(_KIND, "calls in a turn after the last", lambda g: [finished_turn(g.right), finished_turn(g.called)], True),
    Attack(
        _KIND,
        "a hundred thousand words",
        lambda g: after_work(g, "so " * 100_000 + g.right_words),
        True,
        needs=always,
    ),
    Attack(_KIND, "the answer given a hundred times", lambda g: after_work(g, g.right * 100), True, needs=always),
)
