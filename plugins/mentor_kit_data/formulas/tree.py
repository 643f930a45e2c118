"""Formulas as trees."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Formula:
    """A node of a formula."""

    kind: str
    """number, name, constant, +, *, /, ^, negative, ±, call, quantity, list, set, sequence, matrix, relation, …"""
    parts: tuple[Formula, ...] = ()
    name: str = ""
    """A letter, a function, a unit, brackets, or the signs of a relation."""
    value: Fraction = Fraction(0)
    """A number's."""
