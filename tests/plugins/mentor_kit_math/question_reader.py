"""Reads the arithmetic task's questions as a person would, and works them out in exact fractions.

Written from the wordings alone: it shares neither tables nor arithmetic with the task.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

_N = r"(-?\d+(?:\.\d+)?)"

#: (operation, pattern), of the wordings that training uses.
KNOWN = [
    ("add", rf"Then add {_N}\."),
    ("add", rf"Add {_N} to it\."),
    ("subtract", rf"Then subtract {_N}\."),
    ("subtract", rf"Take away {_N}\."),
    ("multiply", rf"Then multiply by {_N}\."),
    ("multiply", rf"Take it {_N} times\."),
    ("divide", rf"Then divide by {_N}\."),
    ("divide", rf"Next split it into {_N} equal parts\."),
    ("sum_numbers", rf"Find the total of it, {_N} and {_N}\."),
    ("sum_numbers", rf"Sum it up with {_N} and {_N}\."),
    ("floor", r"Round it down\."),
    ("floor", r"Go to the whole number below\."),
    ("ceil", r"Round it up\."),
    ("ceil", r"Go to the whole number above\."),
    ("round_number", rf"Round it to {_N} digits\."),
    ("round_number", rf"Keep {_N} digits after the point\."),
    ("power", rf"Raise it to the power of {_N}\."),
    ("power", rf"Take it to the power {_N}\."),
    ("sqrt", r"Take the square root\."),
    ("sqrt", r"Find its square root\."),
    ("abs_value", r"Take the absolute value\."),
    ("abs_value", r"Drop the sign\."),
    ("modulo", rf"Find the remainder after dividing by {_N}\."),
    ("modulo", rf"Take it modulo {_N}\."),
]

#: The same, of the wordings that only the split `wordings` uses.
OTHER = [
    ("add", rf"Increase it by {_N}\."),
    ("add", rf"Put {_N} on top of it\."),
    ("subtract", rf"Lower it by {_N}\."),
    ("subtract", rf"Reduce it by {_N}\."),
    ("multiply", rf"Scale it by {_N}\."),
    ("multiply", rf"Make it {_N} times as large\."),
    ("divide", rf"Share it equally among {_N}\."),
    ("divide", rf"Cut it into {_N} equal pieces\."),
    ("sum_numbers", rf"Combine it with {_N} and {_N}\."),
    ("sum_numbers", rf"Put it together with {_N} and {_N}\."),
    ("floor", r"Drop to the nearest whole number under it\."),
    ("floor", r"Take the largest whole number not above it\."),
    ("ceil", r"Rise to the nearest whole number over it\."),
    ("ceil", r"Take the smallest whole number not below it\."),
    ("round_number", rf"Give it with {_N} decimals\."),
    ("round_number", rf"Shorten it to {_N} places\."),
    ("power", rf"Bring it to the exponent {_N}\."),
    ("power", rf"Use it {_N} times as a factor\."),
    ("sqrt", r"Find the number whose square it is\."),
    ("sqrt", r"Undo a squaring of it\."),
    ("abs_value", r"Make it positive\."),
    ("abs_value", r"Find its distance from zero\."),
    ("modulo", rf"Keep what is left over from groups of {_N}\."),
    ("modulo", rf"Give the rest when {_N} goes into it\."),
]


@dataclass(frozen=True)
class Clause:
    """One operation as read from a question."""

    operation: str
    operands: tuple[Fraction, ...]
    known: bool


@dataclass(frozen=True)
class Question:
    """A question as read from its text."""

    start: Fraction
    clauses: tuple[Clause, ...]

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(clause.operation for clause in self.clauses)

    def answers(self) -> set[Fraction]:
        """The right answers: one, or two where a quotient lies exactly between two hundredths.

        Such quotients (729.9 / 36 = 20.275) have no exact binary form, so floating point may round them down.
        """
        found = {self.start}
        for clause in self.clauses:
            found = {after for value in found for after in _results(clause, value)}
        return found


def _results(clause: Clause, value: Fraction) -> set[Fraction]:
    after = exact(clause.operation, value, clause.operands)
    if clause.operation == "divide" and abs(value / clause.operands[0] - after) == Fraction(1, 200):
        towards_zero = after - Fraction(1, 100) if after > 0 else after + Fraction(1, 100)
        return {after, towards_zero}
    return {after}


def read(text: str) -> Question:
    """Raises `AssertionError` on any text that is not wholly understood, or in more than one way."""
    opening = re.match(rf"Start with {_N}\. ", text)
    assert opening is not None, text
    assert text.endswith(" What is the result?"), text
    rest = text[opening.end() : -len(" What is the result?")]
    clauses = []
    while rest:
        matches = [
            (name, found, patterns is KNOWN)
            for patterns in (KNOWN, OTHER)
            for name, pattern in patterns
            if (found := re.match(pattern + r"(?: |$)", rest))
        ]
        assert len(matches) == 1, (text, rest, matches)
        name, found, known = matches[0]
        clauses.append(Clause(name, tuple(Fraction(number) for number in found.groups()), known))
        rest = rest[found.end() :]
    return Question(Fraction(opening.group(1)), tuple(clauses))


def exact(operation: str, value: Fraction, operands: tuple[Fraction, ...]) -> Fraction:
    """The operation's result to two decimals, worked out without floating point."""
    first = operands[0] if operands else Fraction(0)
    if operation == "add":
        return to_digits(value + first, 2)
    if operation == "subtract":
        return to_digits(value - first, 2)
    if operation == "multiply":
        return to_digits(value * first, 2)
    if operation == "divide":
        return to_digits(value / first, 2)
    if operation == "sum_numbers":
        return to_digits(value + sum(operands), 2)
    if operation == "floor":
        return Fraction(value.numerator // value.denominator)
    if operation == "ceil":
        return Fraction(-(-value.numerator // value.denominator))
    if operation == "round_number":
        return to_digits(to_digits(value, int(first)), 2)
    if operation == "power":
        product = Fraction(1)
        for _ in range(int(first)):
            product *= value
        return to_digits(product, 2)
    if operation == "sqrt":
        with localcontext() as context:
            context.prec = 60
            root = (Decimal(value.numerator) / Decimal(value.denominator)).sqrt()
        return to_digits(Fraction(root), 2)
    if operation == "abs_value":
        return to_digits(max(value, -value), 2)
    assert operation == "modulo", operation
    quotient = value / first
    return to_digits(value - first * (quotient.numerator // quotient.denominator), 2)


def to_digits(value: Fraction, digits: int) -> Fraction:
    """Rounded to digits after the point, halves away from zero."""
    scaled = abs(value) * 10**digits
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Fraction(whole if value >= 0 else -whole, 10**digits)
