"""Compares expressions by value: as fractions, else to forty digits, with random numbers for letters.

Two expressions that agree at eight random points agree everywhere; this is how polynomials are distinguished (Schwartz,
1980; Zippel, 1979). Works on parsed formulas alone, and refuses what would grow without bound.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from mentor_kit_data.formulas.tree import Formula

_DIGITS, _POINTS = 60, 8
#: Bits of exact numbers: for constants, and at points.
_EXACT, _EXACT_AT_POINTS = 300_000, 20_000
#: The largest exponent of two in a number that is not exact.
_LARGEST = 10_000_000
#: The largest arguments of functions: larger ones are slow, and no key has them.
_LARGEST_ARGUMENT = 100_000


class NoValue(ValueError):
    """An expression that has no value here."""


class Evaluator:
    """Compares expressions. Not for several threads at once."""

    def __init__(self) -> None:
        import mpmath

        self._mp: Any = mpmath.mp.clone()  # with a precision of its own
        self._mp.dps = _DIGITS
        self._errors = (ArithmeticError, ValueError, TypeError, self._mp.NoConvergence)
        self._bits = _EXACT

    def equal(self, first: Formula, second: Formula) -> bool:
        """Whether both have the same value, whatever their letters stand for."""
        return all(self._near(a, b) for a, b in self._pairs(first, second))

    def ratio(self, first: Formula, second: Formula) -> int:
        """1 or -1 where the first is a positive or a negative multiple of the second; else 0."""
        pairs = [(a, b) for a, b in self._pairs(first, second)]
        if not pairs or any(not a or not b for a, b in pairs):
            return 0
        quotients = [self._divided(a, b) for a, b in pairs]
        if not all(self._near(quotient, quotients[0]) for quotient in quotients):
            return 0
        real = self._real(quotients[0])
        return 0 if real is None else 1 if real > 0 else -1

    def real(self, formula: Formula) -> Any:
        """The value of a constant, which may be infinite.

        Raises:
            NoValue: it has letters, or is not real.
        """
        self._bits = _EXACT
        value = self._real(self._value(formula, {}))
        if value is None:
            raise NoValue("not real")
        return self._inexact(value)

    def near(self, first: Any, second: Any) -> bool:
        """Whether two values are the same."""
        return self._near(first, second)

    def _pairs(self, first: Formula, second: Formula) -> list[tuple[Any, Any]]:
        """Both values at random points, where there are any.

        Raises:
            NoValue: at most points there are none.
        """
        names = sorted(letters(first) | letters(second))
        if not names:
            self._bits = _EXACT
            return [(self._value(first, {}), self._value(second, {}))]
        self._bits = _EXACT_AT_POINTS
        seed = hashlib.sha256(repr((first, second)).encode("utf-8", "replace")).digest()
        found, generator = [], random.Random(seed)
        for _ in range(2 * _POINTS):
            point = {name: _random(generator) for name in names}
            values = [self._attempt(first, point), self._attempt(second, point)]
            if None not in values:
                found.append((values[0], values[1]))
            elif values != [None, None]:
                raise NoValue("one of them has a value, the other has none")
            if len(found) == _POINTS:
                return found
        raise NoValue("there are no values")

    def _attempt(self, formula: Formula, point: Mapping[str, Fraction]) -> Any:
        try:
            return self._value(formula, point)
        except NoValue:
            return None

    def _near(self, first: Any, second: Any) -> bool:
        if isinstance(first, Fraction) and isinstance(second, Fraction):
            return first == second
        a, b = self._inexact(first), self._inexact(second)
        if self._mp.isinf(a) or self._mp.isinf(b):
            return bool(a == b)
        return bool(abs(a - b) <= self._mp.mpf(10) ** -40 * max(abs(a), abs(b)))

    def _divided(self, first: Any, second: Any) -> Any:
        exact = isinstance(first, Fraction) and isinstance(second, Fraction)
        return first / second if exact else self._inexact(first) / self._inexact(second)

    def _real(self, value: Any) -> Any:
        if isinstance(value, self._mp.mpc):
            return value.real if abs(value.imag) <= self._mp.mpf(10) ** -40 * abs(value) else None
        return value

    def _inexact(self, value: Any) -> Any:
        return self._mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value

    def _value(self, formula: Formula, point: Mapping[str, Fraction]) -> Any:
        """A fraction where that is possible, else a number of mpmath's."""
        if formula.kind == "number":
            return formula.value
        if formula.kind == "name" and formula.name in point:
            return point[formula.name]
        if formula.kind == "constant":
            return self._constant(formula.name)
        if formula.kind not in ("+", "*", "/", "^", "negative", "call", "quantity"):
            raise NoValue(formula.kind)
        parts = [self._value(part, point) for part in formula.parts]
        try:
            return self._bounded(self._operated(formula, parts))
        except self._errors as error:
            raise NoValue(str(error)) from None

    def _constant(self, name: str) -> Any:
        known = {"pi": self._mp.pi, "e": self._mp.e, "i": self._mp.mpc(0, 1), "infty": self._mp.inf}
        if name not in known:
            raise NoValue(name)
        return +known[name]

    def _operated(self, formula: Formula, parts: list[Any]) -> Any:
        if formula.kind == "call":
            return self._called(formula.name, parts)
        if formula.kind == "quantity":
            if formula.name != "°":
                raise NoValue(formula.name)
            return self._inexact(parts[0]) * self._mp.pi / 180
        if formula.kind == "negative":
            return -parts[0]
        if not all(isinstance(part, Fraction) for part in parts):
            parts = [self._inexact(part) for part in parts]
        left, right = parts
        if formula.kind == "^":
            return self._power(left, right)
        if formula.kind == "/":
            return left / right
        return left + right if formula.kind == "+" else left * right

    def _power(self, base: Any, exponent: Any) -> Any:
        if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * abs(exponent) <= self._bits:
                return base ** int(exponent)
        base, exponent = self._inexact(base), self._inexact(exponent)
        if base and abs(exponent) * (abs(self._mp.mag(base)) + 1) > _LARGEST:
            raise NoValue("too large")
        return base**exponent

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, Fraction):
            long = max(value.numerator.bit_length(), value.denominator.bit_length()) > self._bits
            return self._inexact(value) if long else value
        if self._mp.isnan(value):
            raise NoValue("undefined")
        return value

    def _called(self, name: str, parts: list[Any]) -> Any:
        exact = self._exact_call(name, parts)
        if exact is not None:
            return exact
        values = [self._inexact(part) for part in parts]
        if any(abs(value) > _LARGEST_ARGUMENT for value in values) and name not in ("root", "abs", "ln", "log", "log_"):
            raise NoValue("too large")
        if name in _OPAQUE:
            return self._opaque(name, values)
        known = self._functions()
        if name not in known:
            raise NoValue(name)
        return known[name](*values)

    def _exact_call(self, name: str, parts: list[Any]) -> Any:
        """The value where it is a fraction and needs no function, else None."""
        if not all(isinstance(part, Fraction) for part in parts):
            return None
        if name in ("abs", "floor", "ceil", "max", "min"):
            return Fraction(_EXACT_CALLS[name](*parts))
        whole = all(part.denominator == 1 and 0 <= part <= 3000 for part in parts)
        if name == "factorial" and whole:
            return Fraction(math.factorial(int(parts[0])))
        if name == "binom" and whole:
            return Fraction(math.comb(int(parts[0]), int(parts[1])))
        if name in ("gcd", "lcm") and whole:
            return Fraction(getattr(math, name)(*map(int, parts)))
        return None

    def _functions(self) -> Mapping[str, Callable[..., Any]]:
        mp = self._mp
        return {
            "root": lambda x, n: mp.power(x, 1 / n) if n != 2 else mp.sqrt(x),
            "abs": abs, "floor": mp.floor, "ceil": mp.ceil, "max": max, "min": min,
            "factorial": mp.factorial, "binom": mp.binomial,
            "ln": mp.ln, "lg": mp.log10, "exp": mp.exp, "log_": mp.log,
            # its base is unknown
            "log": lambda x: mp.ln(x) * (mp.mpf(10) / 7 - mp.catalan),
            **{name: getattr(mp, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")},
            **{f"arc{name}": getattr(mp, f"a{name}") for name in ("sin", "cos", "tan")},
        }  # fmt: skip

    def _opaque(self, name: str, values: list[Any]) -> Any:
        """A number that follows from the arguments, for functions that have no value between whole numbers."""
        written = sorted(self._mp.nstr(value, 40) for value in values)
        digest = hashlib.sha256(f"{name} {written}".encode()).digest()
        return Fraction(int.from_bytes(digest[:8], "big"), 1 << 64)


_OPAQUE = frozenset(["gcd", "lcm"])
_EXACT_CALLS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "max": max,
    "min": min,
}


def letters(formula: Formula) -> frozenset[str]:
    """The names of its letters."""
    own = frozenset([formula.name]) if formula.kind == "name" else frozenset()
    return own.union(*(letters(part) for part in formula.parts))


def functions(formula: Formula) -> frozenset[str]:
    """The names of its functions, roots and absolute values apart."""
    own = {formula.name} - {"root", "abs"} if formula.kind == "call" else set()
    return frozenset(own).union(*(functions(part) for part in formula.parts))


def _random(generator: random.Random) -> Fraction:
    """A fraction between 1/4 and 4, or their negatives."""
    size = Fraction(generator.randrange(1000, 4000), generator.randrange(1000, 4000))
    return size if generator.random() < 0.5 else -size
