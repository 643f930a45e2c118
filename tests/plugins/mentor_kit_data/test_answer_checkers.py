"""Checkers against worked examples and twins, and on hostile text."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_data.checkers import checker
from mentor_kit_data.checking import (
    Check,
    ChoiceChecker,
    NumberChecker,
    TextChecker,
    read_number,
)
from pydantic import ValidationError

NUMBER = NumberChecker()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", Fraction(5)),
        (" -3 ", Fraction(-3)),
        ("+4", Fraction(4)),
        ("−7", Fraction(-7)),
        ("1,234.50", Fraction(12345, 10)),
        ("0.1", Fraction(1, 10)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("1e3", Fraction(1000)),
        ("2.5E-1", Fraction(1, 4)),
        ("$5", Fraction(5)),
        ("-$5", Fraction(-5)),
        ("$-5", Fraction(-5)),
        (r"\$-5", Fraction(-5)),
        ("€-5", Fraction(-5)),
        ("£ -1,234.50", Fraction(-12345, 10)),
        ("-€5", Fraction(-5)),
        ("¥+5", Fraction(5)),
        (r"\$-3/4", Fraction(-3, 4)),
        (r"\frac{\$-3}{4}", Fraction(-3, 4)),
        ("-€-5", None),
        ("--5", None),
        ("€€5", None),
        ("$\\frac{3}{4}$", Fraction(3, 4)),
        ("-\\dfrac{1}{2}", Fraction(-1, 2)),
        ("3/4", Fraction(3, 4)),
        ("-3/4", Fraction(-3, 4)),
        ("50%", Fraction(50)),
        ("50\\%", Fraction(50)),
        ("1{,}000", Fraction(1000)),
        ("€ 12", Fraction(12)),
        ("12,34", None),
        ("1,2345", None),
        ("", None),
        (".", None),
        ("-", None),
        ("five", None),
        ("5 apples", None),
        ("1/0", None),
        ("1 2", None),
        ("٣", None),
        ("nan", None),
        ("inf", None),
        ("1e99999", None),
        ("0x10", None),
        ("9" * 300, None),
    ],
)
def test_numbers_as_people_write_them(text: str, value: Fraction | None) -> None:
    assert read_number(text) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=6))
def test_every_plain_decimal_is_itself(value: object) -> None:
    assert read_number(f"{value:f}") == Fraction(str(value))


@given(st.integers(-(10**15), 10**15))
def test_thousands(value: int) -> None:
    assert read_number(f"{value:,}") == value


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_harms_a_checker(answer: str, key: str) -> None:
    for one in (NUMBER, TextChecker(), ChoiceChecker()):
        assert isinstance(one.check(answer, key, ["a", "b"]), bool)


def test_numbers_are_compared_exactly_unless_told_otherwise() -> None:
    assert NUMBER.check("0.30", "3/10")
    assert not NUMBER.check("0.3000001", "0.3")
    near = checker(Check(tolerance=0.01))
    assert near.check("0.309", "0.3")
    assert not near.check("0.311", "0.3")
    assert not near.check("one", "one")


@given(st.decimals(min_value="0.001", max_value="9", places=3), st.integers(-(10**6), 10**6))
def test_a_tolerance_is_the_decimal_that_was_written(tolerance: object, key: int) -> None:
    width = Fraction(str(tolerance))
    near = checker(Check(tolerance=float(str(tolerance))))
    for sign in (1, -1):
        edge = key + sign * width
        beyond = edge + sign * Fraction(1, 10**9)
        assert near.check(f"{edge.numerator}/{edge.denominator}", str(key))
        assert not near.check(f"{beyond.numerator}/{beyond.denominator}", str(key))


@pytest.mark.parametrize("option", ["tolerance", "seconds"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf"), -1.0])
def test_limits_are_numbers(option: str, value: float) -> None:
    use = {"tolerance": "number", "seconds": "math"}[option]
    with pytest.raises(ValidationError, match=option):
        Check.model_validate({"use": use, option: value})


SIGNS = st.sampled_from(["-", "+", "−", "$", r"\$", "€", "£", "5", ".", "%", "/", " ", r"\frac{5}{", "}", r"\!", "{,}"])


@given(st.lists(SIGNS, min_size=1, max_size=7))
def test_no_minus_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    value = read_number(text)
    if value:
        assert (value < 0) == ((text.count("-") + text.count("−")) % 2 == 1)


def test_huge_texts_are_wrong_at_once() -> None:
    started = time.process_time()
    for text in ("9" * 10_000_000, "1" + ",000" * 1_000_000, "x" * 10_000_000, "(" * 1_000_000):
        assert not NUMBER.check(text, "1")
        assert not TextChecker().check(text, "1")
        assert not ChoiceChecker().check(text, "A", ["x", "y"])
    assert time.process_time() - started < 10


def test_texts() -> None:
    plain = TextChecker()
    assert plain.check("  The  Beatles\n", "the beatles")
    assert plain.check("Stra\u00dfe", "STRASSE")
    assert plain.check("e\u0301", "\u00e9")
    assert not plain.check("The Beatles!", "The Beatles")
    strict = checker(Check(use="text", ignore_case=False, ignore_space=False))
    assert strict.check("a b", "a b")
    assert not strict.check("A b", "a b")
    assert not strict.check("a  b", "a b")


CITIES = ["Paris", "Rome", "Berlin"]


@pytest.mark.parametrize("answer", ["B", "b", "(B)", "(b)", "B.", "B)", "B: Rome", "b. rome", "Rome", " rome "])
def test_a_choice_in_every_writing(answer: str) -> None:
    chooser = checker(Check(use="choice"))
    assert chooser.check(answer, "B", CITIES)
    assert chooser.check(answer, "Rome", CITIES)
    assert not chooser.check(answer, "A", CITIES)


@pytest.mark.parametrize("answer", ["", "D", "Z", "B: Paris", "BC", "B or C", "Rom", "1"])
def test_what_is_no_choice(answer: str) -> None:
    assert not any(ChoiceChecker().check(answer, key, CITIES) for key in "ABC")


@pytest.mark.parametrize(
    "answer",
    ["B) or C)", "B. and C.", "B: C", "B) (C)", "B.C", "B: or maybe C", "B), C)", "B. / C.", "B) | C)", "B, C"],
)
def test_several_choices_are_none_where_the_texts_are_not_known(answer: str) -> None:
    assert not any(ChoiceChecker().check(answer, key) for key in "ABC")


@pytest.mark.parametrize("answer", ["B", "(b)", "B.", "B: Rome", "B) A river, or a lake", "B. I am", "B: orange"])
def test_one_choice_where_the_texts_are_not_known(answer: str) -> None:
    assert [key for key in "ABC" if ChoiceChecker().check(answer, key)] == ["B"]


def test_choices_that_are_letters_and_choices_that_are_the_same() -> None:
    assert ChoiceChecker().check("B", "B", ["B", "A"])  # a letter is a letter first
    assert not ChoiceChecker().check("B", "A", ["B", "A"])
    assert ChoiceChecker().check("I", "A", ["I", "you"])  # there is no ninth choice
    assert not ChoiceChecker().check("x", "A", ["x", "x"])
    assert ChoiceChecker().check("A", "A", ["x", "x"])
