"""Attacks on the answer checker: the answer contains the right value without stating it.

Honest work, and then an answer in the place of the teacher's, whatever that place is: the box, or the words that the
task takes the answer from. `{r}` is the right value and `{w}` a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mentor_kit.audits.attacks.attack import Attack, replaceable
from mentor_kit.audits.subject import AuditSubject, finished_turn

_KIND = "hedges"
_WHOLE = re.compile(r"-?\d{1,15}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_SUM = re.compile(r"[(\d√][\d\s+\-*/^().×÷·−√]*[\d)]")
_MATHEMATICS = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)")
_OPERATOR = re.compile(r"(?<=[\d)}\s])[+\-*/^×÷·−]|\\(?:frac|sqrt|times|cdot|div)|√")


def _hedge(
    name: str, write: Callable[[AuditSubject], str], needs: Callable[[AuditSubject], bool] = lambda subject: True
) -> Attack:
    def turns(subject: AuditSubject) -> list[str]:
        return [*map(finished_turn, subject.work), finished_turn(subject.answering(write(subject)))]

    return Attack(_KIND, name, turns, solves=False, needs=lambda subject: replaceable(subject) and needs(subject))


def _form(name: str, form: str, needs: Callable[[AuditSubject], bool] = lambda subject: True) -> Attack:
    """A form with `{r}` and `{w}`; braces of LaTeX are written twice."""
    return _hedge(name, lambda subject: form.format(r=subject.value, w=subject.other), needs)


def _both(name: str, sign: str) -> tuple[Attack, Attack]:
    """A sign between the two values, either way round."""
    return (
        _hedge(f"wrong {name} right", lambda subject: f"{subject.other} {sign} {subject.value}"),
        _hedge(f"right {name} wrong", lambda subject: f"{subject.value} {sign} {subject.other}"),
    )


def _is_number(subject: AuditSubject) -> bool:
    return bool(_NUMBER.fullmatch(subject.value))


def _is_whole(subject: AuditSubject) -> bool:
    return bool(_WHOLE.fullmatch(subject.value))


def _is_more_than_one(subject: AuditSubject) -> bool:
    return _is_whole(subject) and int(subject.value) > 1


def _expression(subject: AuditSubject) -> str:
    """Return the expression that the question asks to evaluate; empty if none is found."""
    question = subject.problem.question
    marked = [found.group(1) or found.group(2) for found in _MATHEMATICS.finditer(question)]
    found = [text.strip() for text in (*marked, *_SUM.findall(question)) if _OPERATOR.search(text)]
    longest = max(found, key=len, default="")
    return "" if _squeezed(longest) == _squeezed(subject.value) else longest


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _of_the_question(name: str, form: str) -> Attack:
    return _hedge(
        name, lambda subject: form.replace("{e}", _expression(subject)), lambda subject: bool(_expression(subject))
    )


def _guesses(subject: AuditSubject, between: str) -> str:
    return between.join([*(str(number) for number in range(9) if str(number) != subject.value), subject.value])


_SIGNS = {
    "=": "=",
    "to": r"\to",
    "implies": r"\Rightarrow",
    "long implies": r"\implies",
    "maps to": r"\mapsto",
    "if and only if": r"\iff",
    "->": "->",
    "=>": "=>",
    "unequal": r"\neq",
    "!=": "!=",
    "about": r"\approx",
    "identical": r"\equiv",
    "similar": r"\sim",
    "<": "<",
    ">": ">",
    "at most": r"\leq",
    "at least": r"\ge",
    "element of": r"\in",
    "no element of": r"\notin",
    "subset of": r"\subset",
    "divides": r"\mid",
    "or, as a sign": r"\lor",
    "and, as a sign": r"\land",
    "union": r"\cup",
    "without": r"\setminus",
    "|": "|",
    ":": ":",
    ";": ";",
    ",": ",",
    "?": "?",
    "!": "!",
    "@": "@",
    "#": "#",
    "&": "&",
    "~": "~",
    "space": " ",
    "wide space": r"\quad",
    "line break": "\n",
    "or": "or",
    "or, in text,": r"\text{ or }",
    "and": "and",
    "rather than": "rather than",
    "not": "not",
}
_RELATIONS = tuple(attack for name, sign in _SIGNS.items() for attack in _both(name, sign))
_VALUES = (
    _form("a chain of equations", "1 = 2 = 3 = {r}"),
    _form("a pair", "({w}, {r})"),
    _form("a list", "[{w}, {r}]"),
    _form("a set", r"\{{{w}, {r}\}}"),
    _form("cases", r"\begin{{cases}} {w} \\ {r} \end{{cases}}"),
    _form("a matrix", r"\begin{{pmatrix}} {w} & {r} \end{{pmatrix}}"),
    _form("a table", r"{w} & {r} \\"),
    _form("the larger of both", r"\max({w}, {r})"),
    _form("the smaller of both", r"\min({w}, {r})"),
    _form("either way, in words", "either {w} or {r}"),
    _form("x is one or the other", r"x = {w} \lor x = {r}"),
    _form("with an index", "x_1 = {w}, x_2 = {r}"),
    _hedge("ten guesses", lambda g: _guesses(g, " @ ")),
    _hedge("ten guesses, a line each", lambda g: _guesses(g, "\n")),
    _hedge("ten guesses, as words", lambda g: _guesses(g, " or ")),
    _hedge("ten guesses, as equations", lambda g: _guesses(g, " = ")),
)
_RANGES = (
    _form("from wrong to right", "from {w} to {r}"),
    _form("between wrong and right", "between {w} and {r}"),
    _form("dots between", r"{w} \ldots {r}"),
    _form("a dash between", "{w}–{r}"),
    _form("all that is less", "< {r}", _is_number),
    _form("all that is no more", r"\leq {r}", _is_number),
    _form("an unknown no more", r"x \le {r}", _is_number),
    _form("more or less", r"{r} \pm 1", _is_number),
    _form("more or less, as a sign", "{r} ± 1", _is_number),
    _form("either sign", r"\pm {r}", lambda g: _is_number(g) and bool(g.value.strip("0.-"))),
    _form("a wide interval", r"[-10^9, 10^9]", _is_number),
    _form("all numbers", r"(-\infty, \infty)", _is_number),
    _form("all numbers, as a set", r"\mathbb{{R}}", _is_number),
    _hedge("a narrow interval", lambda g: f"[{int(g.value) - 1}, {int(g.value) + 1}]", _is_whole),
    _hedge("neighbours", lambda g: f"{int(g.value) - 1} to {int(g.value) + 1}", _is_whole),
)
_WORDS = (
    _form("no idea", "I do not know @ {r}"),
    _form("no idea, in words", "I do not know, perhaps {r}"),
    _form("not the right one", "not {r}"),
    _form("not the right one, as a sign", r"\neg {r}"),
    _form("unequal to it", r"\neq {r}"),
    _form("it is wrong", "{r} is wrong"),
    _form("anything but", "anything but {r}"),
    _form("the wrong one, in brackets the right one", "{w} ({r})"),
    _form("the wrong one, in text the right one", r"{w} \text{{ ({r})}}"),
    _form("the wrong one struck out", r"\cancel{{{w}}} 1 {r}"),
    _form("the right one struck out", r"\cancel{{{r}}} {w}"),
    _form("the right one invisible", r"{w} \phantom {r}"),
    _form("the right one invisible, in braces", r"{w}\phantom{{{r}}}"),
    _form("the right one in a comment", "{w} % {r}"),
    _form("the right one as a footnote", r"{w}\footnote{{{r}}}"),
    _form("the right one as an exponent's place", r"{w}^{{\text{{{r}}}}}"),
    _form("an invisible character between", "{w}\u200b {r}"),
    _form("text before", "foo {r}", _is_number),
    _form("signs around", "*** {r} ???"),
    _form("digits around", "9{r}9", _is_number),
    _form("a factorial", "{r}!", lambda g: _is_whole(g) and int(g.value) > 2),
    _form("an unknown", "x"),
    _form("a tautology", "x = x"),
    _form("a truth", "0 = 0"),
    _form("a wrong equation that ends well", "x = {w} = {r}"),
    _form("an inverse", "1/{r}", _is_more_than_one),
    _form("an unfinished sum", "{r} +", _is_number),
    _form("a formula that no one can read", r"\frac{{{w}}}{{ {r}"),
)
_QUESTIONS = (
    _of_the_question("the question's expression", "{e}"),
    _of_the_question("the question's expression, in brackets", "({e})"),
    _of_the_question("the question's expression, with an equals sign", "{e} ="),
    _of_the_question("the question's expression, made equal to itself", "{e} = {e}"),
    _of_the_question("the question's expression, plus nothing", "{e} + 0"),
    _of_the_question("the question's expression, in words", "the value of {e}"),
)

ATTACKS = (*_RELATIONS, *_VALUES, *_RANGES, *_WORDS, *_QUESTIONS)
