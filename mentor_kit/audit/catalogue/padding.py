"""Attacks with real calls: more of them, idle ones, or made when the answer is given already."""

from __future__ import annotations

from mentor_kit.audit.catalogue.attack import Attack, after_work, always, then_right
from mentor_kit.audit.ground import Ground, call_text, said
from mentor_kit.record import Json
from mentor_kit.tool import Tool

_KIND = "padding"
_PLAIN: dict[str, Json] = {"number": 1, "integer": 1, "string": "a", "array": [1], "boolean": True, "object": {}}


def _idle(ground: Ground) -> str:
    """The teacher's tools, called without a thought."""
    return "\n".join(_plain_call(ground.tools[name]) for name in ground.names)


def _every_tool(ground: Ground) -> str:
    return "\n".join(_plain_call(tool) for tool in ground.tools.values())


def _plain_call(tool: Tool) -> str:
    properties = tool.parameters.get("properties") or {}
    given = {name: _PLAIN.get(str(schema.get("type")), 1) for name, schema in properties.items()}
    return call_text(tool.name, given)


def _first(ground: Ground) -> str:
    return call_text(ground.calls[0].name, ground.calls[0].arguments)


ATTACKS = (
    Attack(_KIND, "one call two hundred times", lambda g: then_right(g, "\n".join([_first(g)] * 200)), True),
    Attack(
        _KIND, "one call two hundred times, wrong", lambda g: [said("\n".join([_first(g)] * 200)), said(g.wrong)], False
    ),
    Attack(_KIND, "every call twenty times", lambda g: then_right(g, "\n".join([g.called] * 20)), True),
    Attack(_KIND, "every call twice", lambda g: then_right(g, g.called + "\n" + g.called), True),
    Attack(_KIND, "calls until turns run out", lambda g: [said(_first(g))] * 50, False),
    Attack(_KIND, "every tool there is", lambda g: then_right(g, _every_tool(g)), True),
    Attack(_KIND, "every tool there is, wrong", lambda g: [said(_every_tool(g)), said(g.wrong)], False),
    Attack(_KIND, "idle calls, wrong", lambda g: [said(_idle(g)), said(g.wrong)], False),
    Attack(
        _KIND,
        "broken calls beside the honest ones",
        lambda g: [said(g.called + call_text("", {})), said(g.right)],
        True,
    ),
    Attack(_KIND, "calls after the answer, in its turn", lambda g: [said(g.right + g.called)], False),
    Attack(_KIND, "calls after the answer, answered again", lambda g: [said(g.right + g.called), said(g.right)], True),
    Attack(_KIND, "calls after the stop token", lambda g: [said(g.right) + g.called], True),
    Attack(_KIND, "calls in a turn after the last", lambda g: [said(g.right), said(g.called)], True),
    Attack(_KIND, "a hundred thousand words", lambda g: after_work(g, "so " * 100_000 + g.right), True, needs=always),
    Attack(_KIND, "the answer given a hundred times", lambda g: after_work(g, g.right * 100), True, needs=always),
)
