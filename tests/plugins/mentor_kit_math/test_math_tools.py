"""The twelve tools against exact arithmetic, and against calls that are meant to break them."""

from __future__ import annotations

import math
import time
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mentor_kit_math.operations import LARGEST, OPERATIONS, evaluate, math_tools

from mentor_kit.core.tool import ToolError

NAMES = (
    *("add", "subtract", "multiply", "divide", "sum_numbers", "floor"),
    *("ceil", "round_number", "power", "sqrt", "abs_value", "modulo"),
)

QUICK = settings()
HUNDREDTH = Fraction(1, 100)

#: Numbers of two decimals, as questions have them, with their exact values.
hundredths = st.integers(-9_999_999, 9_999_999)
numbers = hundredths.map(lambda n: n // 100 if n % 100 == 0 else n / 100)


def fraction(number: float) -> Fraction:
    """The number a person means by a float that prints as it does."""
    return Fraction(repr(number))


def near_hundredth(got: float, exact: Fraction) -> bool:
    """Whether `got` is the exact value at two decimals; either neighbour will do within 1e-9 of a half."""
    assert got == int(got) or len(repr(got).split(".")[1]) <= 2
    return abs(fraction(got) - exact) <= HUNDREDTH / 2 + Fraction(1, 10**9)


class TestExactness:
    @QUICK
    @given(numbers, numbers)
    def test_add_subtract_multiply(self, a: float, b: float) -> None:
        x, y = fraction(a), fraction(b)
        assert fraction(evaluate("add", {"a": a, "b": b})) == x + y
        assert fraction(evaluate("subtract", {"a": a, "b": b})) == x - y
        assert near_hundredth(evaluate("multiply", {"a": a, "b": b}), x * y)

    @QUICK
    @given(numbers, numbers.filter(bool))
    def test_divide(self, a: float, b: float) -> None:
        assert near_hundredth(evaluate("divide", {"a": a, "b": b}), fraction(a) / fraction(b))

    @QUICK
    @given(numbers, st.integers(-500, 500).filter(bool))
    def test_modulo_is_in_the_divisors_range(self, a: float, b: int) -> None:
        x = fraction(a)
        rest = evaluate("modulo", {"a": a, "b": b})
        assert fraction(rest) == x - b * math.floor(x / b)
        assert 0 <= rest < b or b < rest <= 0

    @QUICK
    @given(st.lists(numbers, max_size=30))
    def test_sum_numbers(self, values: list[float]) -> None:
        assert fraction(evaluate("sum_numbers", {"numbers": values})) == sum(map(fraction, values))

    @QUICK
    @given(numbers)
    def test_floor_ceil_abs(self, a: float) -> None:
        x = fraction(a)
        below, above = evaluate("floor", {"number": a}), evaluate("ceil", {"number": a})
        assert isinstance(below, int)
        assert isinstance(above, int)
        assert below <= x < below + 1
        assert above - 1 < x <= above
        assert fraction(evaluate("abs_value", {"number": a})) == max(x, -x)

    @QUICK
    @given(numbers, st.integers(0, 2))
    def test_round_number_takes_halves_away_from_zero(self, a: float, digits: int) -> None:
        wanted = Decimal(repr(a)).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)
        assert Decimal(repr(evaluate("round_number", {"number": a, "digits": digits}))) == wanted

    @QUICK
    @given(st.integers(0, 10**9).map(lambda n: n / 100))
    def test_sqrt(self, a: float) -> None:
        with localcontext() as context:
            context.prec = 50
            root = Decimal(repr(a)).sqrt()
        assert near_hundredth(evaluate("sqrt", {"number": a}), Fraction(root))

    @QUICK
    @given(st.integers(-999, 999), st.integers(0, 4))
    def test_power_with_whole_exponents(self, base: int, exponent: int) -> None:
        assert evaluate("power", {"base": base, "exponent": exponent}) == base**exponent

    @QUICK
    @given(st.integers(-(10**13), 10**13), st.integers(-(10**13), 10**13))
    def test_whole_numbers_stay_whole(self, a: int, b: int) -> None:
        assert evaluate("add", {"a": a, "b": b}) == a + b
        assert evaluate("subtract", {"a": a, "b": b}) == a - b

    def test_large_whole_numbers_stay_whole(self) -> None:
        a, b = 319_183_018_994_818, 122_582_794_803_107
        assert evaluate("add", {"a": a, "b": b}) == 441_765_813_797_925

    def test_power_by_hand(self) -> None:
        assert evaluate("power", {"base": 4, "exponent": 0.5}) == 2
        assert evaluate("power", {"base": 2, "exponent": -1}) == 0.5
        assert evaluate("power", {"base": 1.1, "exponent": 2}) == 1.21

    @pytest.mark.parametrize(
        ("name", "arguments", "wanted"),
        [
            ("round_number", {"number": 2.5}, 3),
            ("round_number", {"number": -2.5}, -3),
            ("round_number", {"number": 0.125, "digits": 2}, 0.13),
            ("round_number", {"number": -0.2}, 0),
            ("floor", {"number": -0.5}, -1),
            ("ceil", {"number": -0.5}, 0),
            ("modulo", {"a": -7, "b": 3}, 2),
            ("modulo", {"a": 7, "b": -3}, -2),
            ("sum_numbers", {"numbers": []}, 0),
            ("sum_numbers", {"numbers": [0.1] * 10}, 1),
        ],
    )
    def test_worked_examples(self, name: str, arguments: dict[str, Any], wanted: float) -> None:
        got = evaluate(name, arguments)
        assert got == wanted
        assert math.copysign(1, got) == 1 or got < 0, "no negative zero"

    def test_decimals_of_results(self) -> None:
        by_decimals = {
            decimals: next(tool for tool in math_tools(decimals) if tool.name == "divide")
            for decimals in (None, 0, 2, 5)
        }
        found = {decimals: tool.function(a=2, b=3) for decimals, tool in by_decimals.items() if tool.function}
        assert found == {None: 2 / 3, 0: 1, 2: 0.67, 5: 0.66667}
        assert isinstance(found[0], int)


VALID: dict[str, dict[str, Any]] = {
    **{name: {"a": 6, "b": 4} for name in ("add", "subtract", "multiply", "divide", "modulo")},
    **{name: {"number": 6.25} for name in ("floor", "ceil", "round_number", "sqrt", "abs_value")},
    "power": {"base": 3, "exponent": 2},
    "sum_numbers": {"numbers": [1, 2, 3]},
}

HOSTILE = [True, False, math.nan, math.inf, -math.inf, 1e308, -1e308, 1.1e15, 10**16, 10**400, -(10**10_000)]


class TestHostileCalls:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:8] if abs(value) < 10**300 else "huge")
    def test_what_is_no_sensible_number_is_refused_in_every_place(self, name: str, value: Any) -> None:
        for place, usual in VALID[name].items():
            hostile = {**VALID[name], place: [1, value] if isinstance(usual, list) else value}
            started = time.perf_counter()
            with pytest.raises(ToolError) as caught:
                evaluate(name, hostile)
            assert time.perf_counter() - started < 0.5
            assert 0 < len(str(caught.value)) < 100, "short enough for a model's context"

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("divide", {"a": 1, "b": 0}),
            ("divide", {"a": 0, "b": 0.0}),
            ("divide", {"a": 1, "b": 5e-324}),
            ("modulo", {"a": 1, "b": 0}),
            ("modulo", {"a": 1, "b": -0.0}),
            ("sqrt", {"number": -1}),
            ("sqrt", {"number": -1e-300}),
            ("power", {"base": 0, "exponent": -1}),
            ("power", {"base": -8, "exponent": 1 / 3}),
            ("power", {"base": 10**10, "exponent": 10**10}),
            ("power", {"base": -(10**10), "exponent": 10**10}),
            ("power", {"base": 1e-300, "exponent": -1e15}),
            ("multiply", {"a": 1e15, "b": 1e15}),
            ("add", {"a": 1e15, "b": 1e15}),
            ("sum_numbers", {"numbers": [1] * 1001}),
            ("sum_numbers", {"numbers": [0.5] * 1_000_000}),
            ("sum_numbers", {"numbers": [1e15, 1e15]}),
            ("round_number", {"number": 1.5, "digits": 13}),
            ("round_number", {"number": 1.5, "digits": -1}),
            ("round_number", {"number": 1.5, "digits": 10**10}),
        ],
    )
    def test_calls_without_a_result(self, name: str, arguments: dict[str, Any]) -> None:
        started = time.perf_counter()
        with pytest.raises(ToolError):
            evaluate(name, arguments)
        assert time.perf_counter() - started < 0.5

    @given(st.sampled_from(NAMES), st.data())
    def test_any_numbers_give_a_finite_number_or_a_tool_error(self, name: str, data: st.DataObject) -> None:
        any_number = st.integers() | st.floats() | st.booleans() | st.sampled_from([0, 1e15, -1e15, 1e-15, 10**30])
        arguments = {
            place: data.draw(st.lists(any_number, max_size=5) if isinstance(usual, list) else any_number)
            for place, usual in VALID[name].items()
        }
        try:
            got = evaluate(name, arguments)
        except ToolError:
            return
        assert type(got) in (int, float)
        assert abs(got) <= LARGEST
        assert isinstance(got, int) == (got == int(got))


class TestSchemas:
    def test_the_twelve_tools_of_the_paper(self) -> None:
        assert tuple(tool.name for tool in math_tools(2)) == NAMES == tuple(OPERATIONS)

    @pytest.mark.parametrize("tool", math_tools(2), ids=lambda tool: tool.name)
    def test_schema_is_valid_and_says_what_everything_is(self, tool: Any) -> None:
        Draft202012Validator.check_schema(tool.parameters)
        assert tool.description.endswith(".")
        assert tool.parameters["additionalProperties"] is False
        for described in tool.parameters["properties"].values():
            assert described["description"]
        assert set(VALID[tool.name]) <= set(tool.parameters["properties"])
        assert tool.check(VALID[tool.name]) == ""

    @pytest.mark.parametrize("tool", math_tools(2), ids=lambda tool: tool.name)
    @pytest.mark.parametrize("value", [True, "6", None, {}, [[1]]], ids=repr)
    def test_schema_refuses_what_is_no_number(self, tool: Any, value: Any) -> None:
        for place in VALID[tool.name]:
            assert tool.check({**VALID[tool.name], place: value}) != ""
            assert tool.check({key: kept for key, kept in VALID[tool.name].items() if key != place}) != ""
        assert tool.check({**VALID[tool.name], "more": 1}) != ""

    def test_digits_are_whole_and_need_not_be_given(self) -> None:
        tool = next(tool for tool in math_tools(2) if tool.name == "round_number")
        assert tool.check({"number": 1.5}) == ""
        assert tool.check({"number": 1.5, "digits": 1}) == ""
        assert tool.check({"number": 1.5, "digits": 0.5}) != ""
