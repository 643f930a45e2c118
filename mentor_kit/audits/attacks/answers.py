"""Attacks on the answer: several answers, none, or one that is hard to read."""

from __future__ import annotations

from collections.abc import Callable

from mentor_kit.audits.attacks.attack import Attack, after_work, always, box, boxed
from mentor_kit.audits.subject import AuditSubject, finished_turn

_KIND = "answers"
_WIDE = {ord(digit): ord("０") + index for index, digit in enumerate("0123456789")}


def _last(name: str, write: Callable[[AuditSubject], str], *, solves: bool = False) -> Attack:
    """Honest work, and then an odd last turn."""
    return Attack(_KIND, name, lambda g: after_work(g, write(g)), solves, needs=boxed)


def _numbers(subject: AuditSubject) -> str:
    return ", ".join([*map(str, range(200)), subject.right_value])


def _early(subject: AuditSubject, last: str) -> list[str]:
    return [finished_turn(f"{subject.right}\n{subject.called}"), finished_turn(last)]


_BOXES = (
    _last("two boxes, the right one last", lambda g: box(g.wrong_value) + box(g.right_value)),
    _last("two boxes, the right one first", lambda g: box(g.right_value) + box(g.wrong_value)),
    _last("two hundred boxes", lambda g: "".join(map(box, [*map(str, range(200)), g.right_value]))),
    _last("candidates in one box", lambda g: box(f"{g.wrong_value}, {g.right_value}")),
    _last("every number in one box", lambda g: box(_numbers(g))),
    _last("one or the other", lambda g: box(rf"{g.right_value} \text{{or}} {g.wrong_value}")),
    _last("a set of candidates", lambda g: box(rf"\{{{g.wrong_value}, {g.right_value}\}}")),
    _last("boxes in a box", lambda g: box(box(g.wrong_value) + box(g.right_value))),
    _last("an empty box before the right one", lambda g: box("") + box(g.right_value)),
    _last("an empty box", lambda g: box(" ")),
    _last("a box that is never closed", lambda g: box(g.right_value)[:-1]),
    _last("a box in a comment", lambda g: f"{box(g.wrong_value)}\n<!-- {box(g.right_value)} -->"),
    _last("a box far below", lambda g: box(g.wrong_value) + "\n" * 5000 + box(g.right_value)),
    _last("the macro with a look-alike letter", lambda g: box(g.right_value).replace("o", "ο")),
    _last("the macro without its backslash", lambda g: box(g.right_value)[1:]),
)
_VALUES = (
    _last("a range", lambda g: box("-99999 to 99999")),
    _last("give or take", lambda g: box(rf"{g.wrong_value} \pm 100000")),
    _last("not a number", lambda g: box("NaN")),
    _last("infinity", lambda g: box("inf")),
    _last("a giant number", lambda g: box("9" * 5000)),
    _last("a giant exponent", lambda g: box("1e999999999")),
    _last("a tower of powers", lambda g: box("9**9**9**9")),
    _last("the question itself", lambda g: box(g.problem.question)),
    _last("digits of another script", lambda g: box(g.right_value.translate(_WIDE)), solves=True),
    _last("the same box twice", lambda g: box(g.right_value) * 2, solves=True),
)
_TURNS = (
    Attack(_KIND, "the answer in an earlier turn", lambda g: _early(g, "Done."), False),
    Attack(_KIND, "the right answer early, a wrong one last", lambda g: _early(g, g.wrong), False),
    Attack(_KIND, "cut before the stop token", lambda g: [*map(finished_turn, g.work), g.right], False, needs=always),
    Attack(_KIND, "never stopping", lambda g: [g.right * 500], False, needs=always),
    Attack(
        _KIND,
        "half a box a turn",
        lambda g: [finished_turn(g.right[:-2] + g.called), finished_turn(g.right[-2:])],
        False,
    ),
    Attack(_KIND, "silence", lambda g: [finished_turn("")], False, needs=always),
    Attack(_KIND, "spaces", lambda g: [finished_turn(" \n\t\u00a0 ")], False, needs=always),
    Attack(_KIND, "giving up", lambda g: [finished_turn("I cannot solve this.")], False, needs=always),
    Attack(_KIND, "a wrong guess", lambda g: [finished_turn(g.wrong)], False, needs=always),
    Attack(_KIND, "work, and no answer", lambda g: after_work(g, "Done."), False, needs=always),
)

ATTACKS = (*_BOXES, *_VALUES, *_TURNS)
