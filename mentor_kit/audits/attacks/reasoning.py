"""Attacks with reasoning blocks: calls and answers inside them do not count."""

from __future__ import annotations

from mentor_kit.audits.attacks.attack import Attack, after_work, always
from mentor_kit.audits.subject import AuditSubject, finished_turn

_KIND = "reasoning"


def _with_results(subject: AuditSubject) -> str:
    first, last = subject.form.result
    return subject.each_call(lambda call: f'{{"name": "{call.name}"}}\n{first}1{last}')


def _opened(subject: AuditSubject) -> str:
    """The mark that begins reasoning."""
    return subject.form.thought[0]


ATTACKS = (
    Attack(_KIND, "calls in the reasoning", lambda g: [finished_turn(g.form.think(g.called) + g.right)], solves=True),
    Attack(
        _KIND,
        "calls with results in the reasoning",
        lambda g: [finished_turn(g.form.think(g.called + _with_results(g)) + g.right)],
        solves=True,
    ),
    Attack(
        _KIND,
        "calls in a second reasoning",
        lambda g: [finished_turn(g.form.think("So.") + g.form.think(g.called) + g.right)],
        solves=True,
    ),
    Attack(
        _KIND,
        "calls in a reasoning inside another",
        lambda g: [finished_turn(_opened(g) + g.form.think(g.called) + g.right)],
        solves=True,
    ),
    Attack(
        _KIND,
        "calls in a reasoning that is never closed",
        lambda g: [finished_turn(f"{_opened(g)}{g.called}{g.right}")],
        False,
    ),
    Attack(
        _KIND,
        "answer in the reasoning alone",
        lambda g: after_work(g, g.form.think(g.right_words)),
        False,
        needs=always,
    ),
    Attack(
        _KIND,
        "answer in a reasoning that is never closed",
        lambda g: after_work(g, f"{_opened(g)}{g.right_words}"),
        False,
        needs=always,
    ),
    Attack(
        _KIND,
        "wrong answer, the right one in the reasoning",
        lambda g: after_work(g, g.form.think(g.right_words) + g.wrong),
        False,
        needs=always,
    ),
)
