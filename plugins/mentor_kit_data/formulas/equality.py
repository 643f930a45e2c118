r"""Whether an answer equals the key as mathematics, by the key's kind.

| key | right is |
| --- | --- |
| a number, in any spelling | the same number in any spelling: no product, sum, power or root that has that value |
| a letter | the same letter |
| an expression | one of the same value; without letters and functions, one without functions |
| several values, a set | the same ones, in any order |
| a point, an interval, a matrix | the same entries in the same places |
| an equation, an inequality | an equivalent one |
| anything else | the same words and signs |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mentor_kit_data.formulas.evaluation import Evaluator, NoValue, functions, letters
from mentor_kit_data.formulas.intervals import real_set
from mentor_kit_data.formulas.notation import NotMathematics, Token, tokens
from mentor_kit_data.formulas.parser import parse
from mentor_kit_data.formulas.tree import Formula
from mentor_kit_data.formulas.vocabulary import COUNTED, UNIT_NAMES, UNITS, WORDS

_SETLIKE = frozenset(["set", "sequence", "union", "intersection", "difference", "constant"])
#: Kinds of formulas that may be sets of intervals.
_INTERVALS = frozenset(["sequence", "set", "union", "difference", "relation", "labelled", "list"])
_KNOWN_UNITS = UNITS | COUNTED
_FREE_UNITS = frozenset(["%", "£", *UNIT_NAMES, *UNIT_NAMES.values()])


class Undecided(Exception):
    """Raised where values of expressions would have to be compared."""


def same(answer: str, key: str, evaluator: Evaluator | None = None) -> bool:
    """Whether the answer is the key.

    Args:
        answer: the student's answer.
        key: the right answer.
        evaluator: compares expressions; without one, `Undecided` is raised where that is needed.
    """
    try:
        given, wanted = _readings(answer), _readings(key)
        if any(_same_signs(first, second) for first in given for second in wanted):
            return True
        comparison = _Comparison(evaluator)
        return any(comparison.fits(first, second) for first in _parsed(given) for second in _parsed(wanted))
    except (NotMathematics, RecursionError):
        return False


def _readings(text: str) -> list[tuple[Token, ...]]:
    """The text's tokens, with commas that separate thousands, and with commas that separate values."""
    first, second = tokens(text), tokens(text, commas=False)
    return [first] if first == second else [first, second]


def _parsed(readings: Sequence[tuple[Token, ...]]) -> Iterator[Formula]:
    for reading in readings:
        try:
            yield parse(reading)
        except NotMathematics:
            continue


def _same_signs(first: Sequence[Token], second: Sequence[Token]) -> bool:
    if [(t.kind, t.text) for t in first] == [(t.kind, t.text) for t in second]:
        return bool(first)
    return any(t.kind == "text" for t in second) and _words(first) == _words(second)


def _words(found: Sequence[Token]) -> str:
    """Everything with words in lower case, and blanks between what is no letter."""
    return "".join(_word(token) for token in found)


def _word(token: Token) -> str:
    if token.kind == "letter":
        return token.text
    if token.kind != "text":
        return f" {token.text} "
    plain = token.text.casefold()
    return plain if len(plain) > 3 or plain in WORDS else token.text  # mW is no MW


class _Comparison:
    def __init__(self, evaluator: Evaluator | None) -> None:
        self._evaluator = evaluator

    def fits(self, answer: Formula, key: Formula) -> bool:
        """Whether an answer is right."""
        for part in (answer, key):
            if part.kind == "labelled" and part.name.endswith(r"\in") and part.parts[0].kind not in _SETLIKE:
                return False
        if self._fits_as_equation(answer, key):
            return True
        if answer.kind == "relation" or key.kind == "relation":
            return self._same_set(answer, key)
        if key.kind == "name" and answer.kind == "labelled":
            return False
        if answer.kind == key.kind == "labelled" and _label(answer) != _label(key):
            return False
        answer, key = (part.parts[0] if part.kind == "labelled" else part for part in (answer, key))
        given, wanted = _values(answer), _values(key)
        if given is not None or wanted is not None:
            return self._same_values(given or [answer], wanted or [key]) or self._same_set(answer, key)
        return self._one(answer, key)

    def _one(self, answer: Formula, key: Formula) -> bool:
        """For one value each."""
        if _is_set_of_sets(key) or _is_set_of_sets(answer):
            return answer == key or self._same_set(answer, key)
        if key.kind in ("sequence", "matrix") or answer.kind in ("sequence", "matrix"):
            same_frame = (answer.kind, answer.name, len(answer.parts)) == (key.kind, key.name, len(key.parts))
            return same_frame and all(self.fits(a, k) for a, k in zip(answer.parts, key.parts, strict=True))
        return answer == key or self._same_quantity(answer, key)

    def _same_quantity(self, answer: Formula, key: Formula) -> bool:
        (given, unit), (wanted, key_unit) = _measured(answer), _measured(key)
        if "%" in (unit, key_unit) and unit in ("", "%") and key_unit in ("", "%"):
            if unit == key_unit:
                return self._same_value(given, wanted)
            given, wanted = (given, wanted) if unit else (wanted, given)  # the one in percent first
            hundredth = replace(given, value=given.value / 100)
            return given.kind == "number" and (self._same_value(given, wanted) or self._same_value(hundredth, wanted))
        if unit != key_unit and unit and (key_unit or not _is_free(unit)):
            return False
        return self._same_value(given, wanted)

    def _same_value(self, answer: Formula, key: Formula) -> bool:
        if key.kind == "number":
            return answer.kind == "number" and answer.value == key.value
        if key.kind in ("numeral", "name") or answer.kind == "numeral":
            return answer == key
        if not letters(key) and not functions(key) and (functions(answer) or letters(answer)):
            return False
        try:
            return self._numbers().equal(answer, key)
        except NoValue:
            return False

    def _same_values(self, answer: Sequence[Formula], key: Sequence[Formula]) -> bool:
        """The same ones, in any order."""
        if len(answer) != len(key):
            return False
        labels = {_label(item) for item in key} - {""}
        if len(labels) > 1 and not all(item.kind == "labelled" for item in answer):
            return False
        left = list(key)
        for item in answer:
            found = next((index for index, other in enumerate(left) if self.fits(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True

    def _same_set(self, answer: Formula, key: Formula) -> bool:
        """As sets of real numbers: intervals, their unions, inequalities of one letter.

        Where the key is one interval or the members of a set, unions and differences are work left to do, and where it
        is one inequality, several are no answer.
        """
        if key.kind in ("sequence", "set") and answer.kind not in ("relation", "constant"):
            return False
        if answer.kind == "list" and key.kind not in ("union", "difference", "list"):
            return False
        if not all(part.kind in _INTERVALS or part.name == "mathbb R" for part in (answer, key)):
            return False
        numbers = self._numbers()
        try:
            given, wanted = real_set(answer, numbers), real_set(key, numbers)
        except NoValue:
            return False
        return len(given) == len(wanted) and all(
            (a[1], a[3]) == (b[1], b[3]) and numbers.near(a[0], b[0]) and numbers.near(a[2], b[2])
            for a, b in zip(given, wanted, strict=True)
        )

    def _fits_as_equation(self, answer: Formula, key: Formula) -> bool:
        """Equations and inequalities that are multiples of each other; `x = 5` is solved, and `2x = 10` is not."""
        if key.kind == "labelled" and not letters(key.parts[0]):
            return False
        given, wanted = _sides(answer), _sides(key)
        if not given or len(given) != len(wanted):
            return False
        return all(any(self._same_relation(a, k) for k in wanted) for a in given) and all(
            any(self._same_relation(a, k) for a in given) for k in wanted
        )

    def _same_relation(self, answer: tuple[str, Formula], key: tuple[str, Formula]) -> bool:
        if answer[0] != key[0] or not letters(key[1]):
            return False
        try:
            ratio = self._numbers().ratio(answer[1], key[1])
        except NoValue:
            return False
        return ratio > 0 or (ratio < 0 and key[0] in ("=", r"\ne"))

    def _numbers(self) -> Evaluator:
        if self._evaluator is None:
            raise Undecided
        return self._evaluator


def _is_set_of_sets(formula: Formula) -> bool:
    r"""Whether it is more than one interval: a union, a difference, `\mathbb{R}`."""
    return formula.kind in ("union", "intersection", "difference") or formula.name.startswith("mathbb")


def _label(formula: Formula) -> str:
    return formula.name.removesuffix(r"\in") if formula.kind == "labelled" else ""


def _values(formula: Formula) -> list[Formula] | None:
    """The values where there are several, or a set of them; else None."""
    if formula.kind in ("list", "set"):
        found: list[Formula] = []
        for part in formula.parts:
            found += (_values(part) if part.kind != "set" else None) or [part]
        return found
    if formula.kind == "labelled" and (inner := _values(formula.parts[0])) is not None:
        return [replace(formula, parts=(item,)) for item in inner]
    if _has_both_signs(formula):
        return [_signed(formula, upper=True), _signed(formula, upper=False)]
    return None


def _has_both_signs(formula: Formula) -> bool:
    return formula.kind == "±" or any(map(_has_both_signs, formula.parts))


def _signed(formula: Formula, *, upper: bool) -> Formula:
    r"""The formula with the upper sign of every `\pm` and `\mp`, or with the lower one."""
    parts = tuple(_signed(part, upper=upper) for part in formula.parts)
    if formula.kind != "±":
        return replace(formula, parts=parts)
    left, right = parts
    plus = upper == (formula.name == r"\pm")
    if left == Formula("number", name="plain"):
        return right if plus else _negative(right)
    return Formula("+", (left, right if plus else Formula("negative", (right,))))


def _negative(formula: Formula) -> Formula:
    return replace(formula, value=-formula.value) if formula.kind == "number" else Formula("negative", (formula,))


def _measured(formula: Formula) -> tuple[Formula, str]:
    """The value, and its unit under one name."""
    if formula.kind != "quantity":
        return formula, ""
    return formula.parts[0], UNIT_NAMES.get(formula.name, formula.name)


def _is_free(unit: str) -> bool:
    """Whether an answer may have this unit where the key has none."""
    if unit in _FREE_UNITS:
        return True
    words = "".join(letter if letter.isalpha() else " " for letter in unit.partition("^")[0]).split()
    return bool(words) and all({word.casefold(), word.casefold().removesuffix("s")} & _KNOWN_UNITS for word in words)


def _sides(formula: Formula) -> list[tuple[str, Formula]]:
    """An equation or inequality as signs and differences: `a < b` as (<, a - b)."""
    if formula.kind == "labelled":
        if formula.name.endswith(r"\in"):
            return []
        left = next(iter(_parsed([tokens(formula.name)])), None)
        return [] if left is None else [("=", _difference(left, formula.parts[0]))]
    if formula.kind != "relation":
        return []
    found = []
    for sign, left, right in zip(formula.name.split(), formula.parts, formula.parts[1:], strict=False):
        flipped = sign in (">", r"\ge")
        name = {">": "<", r"\ge": r"\le"}.get(sign, sign)
        found.append((name, _difference(right, left) if flipped else _difference(left, right)))
    return found


def _difference(left: Formula, right: Formula) -> Formula:
    return Formula("+", (left, Formula("negative", (right,))))
