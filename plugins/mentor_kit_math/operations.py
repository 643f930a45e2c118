"""The paper's twelve mathematical tools, guarded so that no call can hang or return a non-number."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from mentor_kit.core.tool import Tool, ToolError

#: Values of more digits than this are refused, as arguments and as results.
LARGEST = 1e15


def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    return a + b


def subtract(a: float, b: float) -> float:
    """Subtract one number from another.

    Args:
        a: the number to subtract from.
        b: the number to subtract.
    """
    return a - b


def multiply(a: float, b: float) -> float:
    """Multiply two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    return a * b


def divide(a: float, b: float) -> float:
    """Divide one number by another.

    Args:
        a: the number to divide.
        b: the number to divide by; not 0.
    """
    if b == 0:
        raise ToolError("division by zero")
    return a / b


def sum_numbers(numbers: list[float]) -> float:
    """Add up a list of numbers.

    Args:
        numbers: the numbers.
    """
    return math.fsum(numbers)


def floor(number: float) -> float:
    """Round down to a whole number.

    Args:
        number: the number.
    """
    return math.floor(number)


def ceil(number: float) -> float:
    """Round up to a whole number.

    Args:
        number: the number.
    """
    return math.ceil(number)


def round_number(number: float, digits: int = 0) -> float:
    """Round to so many digits after the point, halves away from zero.

    Args:
        number: the number.
        digits: how many digits to keep after the point, from 0 to 12.
    """
    if not 0 <= digits <= 12:
        raise ToolError("digits must be from 0 to 12")
    scale = 10.0**digits
    return math.copysign(math.floor(abs(number) * scale + 0.5) / scale, number)


def power(base: float, exponent: float) -> float:
    """Raise a number to a power.

    Args:
        base: the number.
        exponent: the power.
    """
    if base == 0 and exponent < 0:
        raise ToolError("zero has no negative powers")
    if base < 0 and exponent != int(exponent):
        raise ToolError("a negative number has no fractional powers")
    try:
        return math.pow(base, exponent)
    except OverflowError:
        raise ToolError("the result is too large") from None


def sqrt(number: float) -> float:
    """Take the square root.

    Args:
        number: the number; not negative.
    """
    if number < 0:
        raise ToolError("a negative number has no square root")
    return math.sqrt(number)


def abs_value(number: float) -> float:
    """Take the absolute value.

    Args:
        number: the number.
    """
    return abs(number)


def modulo(a: float, b: float) -> float:
    """Find the remainder of a division; it has the sign of the divisor.

    Args:
        a: the number to divide.
        b: the number to divide by; not 0.
    """
    if b == 0:
        raise ToolError("division by zero")
    return a % b


OPERATIONS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (
        *(add, subtract, multiply, divide, sum_numbers, floor),
        *(ceil, round_number, power, sqrt, abs_value, modulo),
    )
}


def math_tools(decimals: int | None) -> list[Tool]:
    """The tools, with results rounded to `decimals` digits after the point (None for as they are)."""
    return [Tool.from_function(_guarded(function, decimals)) for function in OPERATIONS.values()]


def evaluate(name: str, arguments: dict[str, Any], decimals: int | None = 2) -> int | float:
    """What a tool gives for arguments.

    Raises:
        ToolError: the call has no finite result.
    """
    value: int | float = _guarded(OPERATIONS[name], decimals)(**arguments)
    return value


@functools.cache
def _guarded(function: Callable[..., float], decimals: int | None) -> Callable[..., int | float]:
    @functools.wraps(function)
    def call(**arguments: Any) -> int | float:
        for value in arguments.values():
            _check(value)
        result = float(function(**arguments))
        if not abs(result) <= LARGEST:
            raise ToolError("the result is too large")
        if decimals is not None and result != int(result):
            result = round_number(result, decimals)
        # + 0.0 makes a negative zero positive
        return int(result) if result == int(result) else result + 0.0

    return call


def _check(value: Any) -> None:
    """Refuse what a JSON schema of numbers lets through."""
    if isinstance(value, list):
        if len(value) > 1000:
            raise ToolError("at most 1000 numbers")
        for item in value:
            _check(item)
    elif isinstance(value, bool) or not abs(value) <= LARGEST:
        # Python refuses to write out integers of thousands of digits, and nobody wants to read them
        shown = value if abs(value) < 1e30 or isinstance(value, float) else "so large a number"
        raise ToolError(f"{shown} is not a number this tool can take")
