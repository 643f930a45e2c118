"""Reads numbers in all spellings: digits, fractions, mixed and repeating numbers, powers of ten."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from mentor_kit_data.formulas.notation import Cursor, NotMathematics
from mentor_kit_data.formulas.tree import Formula

#: Of ten, in a number: larger ones are no numbers here.
_LARGEST_EXPONENT = 10_000


class Numerals(Cursor):
    """Reads numbers from tokens."""

    def _number(self) -> Formula:
        text = self._take()
        if self._took("_"):
            return Formula("numeral", name=f"{text}_{self._script_text()}")
        if "." in text and self._next() in (r"\overline", r"\bar"):
            return self._repeating(text)
        if (found := self._mixed_in_a_line(text)) is not None:
            return found
        digits, _, exponent = text.casefold().partition("e")
        whole = _small_exponent(exponent)
        return Formula("number", name="plain", value=Fraction(f"{digits.rstrip('.') or 0}e{whole}"))

    def _mixed_in_a_line(self, text: str) -> Formula | None:
        """`2 2/3`, the whole part of which has been taken."""
        above, stroke, below = (self._token(ahead) for ahead in range(3))
        if above is None or stroke is None or below is None or stroke.text != "/" or not above.spaced:
            return None
        if not all(piece.isdigit() for piece in (text, above.text, below.text)) or not 0 < int(above.text) < int(
            below.text
        ):
            return None
        self._at += 3
        return Formula("number", name="mixed", value=int(text) + Fraction(int(above.text), int(below.text)))

    def _repeating(self, text: str) -> Formula:
        r"""`0.1\overline{6}`: the digits under the line repeat without end."""
        self._take()
        digits = self._script_text()
        if not digits.isdigit() or "e" in text.casefold():
            raise NotMathematics("no digits under the line")
        whole, _, after = text.partition(".")
        period = Fraction(int(digits), (10 ** len(digits) - 1) * 10 ** len(after))
        return Formula("number", name="repeating", value=Fraction(f"{whole or 0}.{after or 0}") + period)

    def _script_text(self) -> str:
        """A subscript, or a unit's exponent, as it is written."""
        if not self._took("{"):
            return ("-" if self._took("-") else "") + self._take()
        found = ""
        while not self._took("}"):
            found += self._take()
        return found


def is_plain(formula: Formula) -> bool:
    """Whether it is a number of digits alone, with or without a sign, a point, and an exponent behind `e`."""
    return formula.kind == "number" and formula.name == "plain"


def negative(formula: Formula) -> Formula:
    """The formula with a minus before it; a number that has none yet stays a number."""
    if formula.kind == "number" and formula.value >= 0:
        return replace(formula, value=-formula.value)
    if formula.kind == "quantity":
        return replace(formula, parts=(negative(formula.parts[0]),))
    return Formula("negative", (formula,))


def ratio(above: Formula, below: Formula) -> Formula:
    """A fraction; of two numbers it is one."""
    if is_plain(above) and is_plain(below) and below.value:
        return Formula("number", name="fraction", value=above.value / below.value)
    return Formula("/", (above, below))


def mixed(whole: Formula, part: Formula) -> Formula | None:
    r"""`2\frac{2}{3}`."""
    if is_plain(whole) and whole.value.denominator == 1 and part.name == "fraction" and 0 < part.value < 1:
        return Formula("number", name="mixed", value=whole.value + part.value)
    return None


def scientific(left: Formula, right: Formula) -> Formula | None:
    r"""`4.5 \times 10^{33}`."""
    if is_plain(left) and right.kind == "number" and right.name == "power":
        return Formula("number", name="scientific", value=left.value * right.value)
    return None


def power_of_ten(exponent: Formula) -> Formula | None:
    """`10^{33}`."""
    if exponent.value.denominator != 1 or abs(exponent.value) > _LARGEST_EXPONENT:
        return None
    return Formula("number", name="power", value=Fraction(10) ** int(exponent.value))


def _small_exponent(exponent: str) -> int:
    """The exponent of a number in e-notation."""
    if len(exponent) > 6 or abs(int(exponent or 0)) > _LARGEST_EXPONENT:
        raise NotMathematics("the exponent is too large")
    return int(exponent or 0)
