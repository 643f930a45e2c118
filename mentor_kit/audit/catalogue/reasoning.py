"""Attacks with reasoning blocks: what is thought is not done."""

from __future__ import annotations

from mentor_kit.audit.catalogue.attack import Attack, after_work, always
from mentor_kit.audit.ground import Ground, said

_KIND = "reasoning"


def _thought(text: str) -> str:
    return f"<think>\n{text}\n</think>\n"


def _with_results(ground: Ground) -> str:
    return ground.each_call(lambda call: f'{{"name": "{call.name}"}}\n<tool_response>\n1\n</tool_response>')


ATTACKS = (
    Attack(_KIND, "calls in the reasoning", lambda g: [said(_thought(g.called) + g.right)], solves=True),
    Attack(
        _KIND,
        "calls with results in the reasoning",
        lambda g: [said(_thought(g.called + _with_results(g)) + g.right)],
        solves=True,
    ),
    Attack(
        _KIND, "calls in a second reasoning", lambda g: [said(_thought("So.") + _thought(g.called) + g.right)], True
    ),
    Attack(
        _KIND, "calls in a reasoning inside another", lambda g: [said("<think>" + _thought(g.called) + g.right)], True
    ),
    Attack(_KIND, "calls in a reasoning that is never closed", lambda g: [said(f"<think>{g.called}{g.right}")], False),
    Attack(_KIND, "answer in the reasoning alone", lambda g: after_work(g, _thought(g.right)), False, needs=always),
    Attack(
        _KIND,
        "answer in a reasoning that is never closed",
        lambda g: after_work(g, f"<think>{g.right}"),
        False,
        needs=always,
    ),
    Attack(
        _KIND,
        "wrong answer, the right one in the reasoning",
        lambda g: after_work(g, _thought(g.right) + g.wrong),
        False,
        needs=always,
    ),
)
