"""Checkers against worked examples and twins, and on hostile text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mentor_kit_data.checking import (
    Check,
    ChoiceChecker,
    NumberChecker,
    TextChecker,
    checker,
    read_number,
)
from mentor_kit_data.mathematics import MathChecker

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


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=6))
def test_every_plain_decimal_is_itself(value: object) -> None:
    assert read_number(f"{value:f}") == Fraction(str(value))


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15))
def test_thousands(value: int) -> None:
    assert read_number(f"{value:,}") == value


@settings(deadline=None)
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


def test_huge_texts_are_wrong_at_once() -> None:
    started = time.monotonic()
    for text in ("9" * 10_000_000, "1" + ",000" * 1_000_000, "x" * 10_000_000, "(" * 1_000_000):
        assert not NUMBER.check(text, "1")
        assert not TextChecker().check(text, "1")
        assert not ChoiceChecker().check(text, "A", ["x", "y"])
    assert time.monotonic() - started < 10


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


def test_choices_that_are_letters_and_choices_that_are_the_same() -> None:
    assert ChoiceChecker().check("B", "B", ["B", "A"])  # a letter is a letter first
    assert not ChoiceChecker().check("B", "A", ["B", "A"])
    assert ChoiceChecker().check("I", "A", ["I", "you"])  # there is no ninth choice
    assert not ChoiceChecker().check("x", "A", ["x", "x"])
    assert ChoiceChecker().check("A", "A", ["x", "x"])


@pytest.fixture(scope="module")
def mathematics() -> Iterator[MathChecker]:
    made = MathChecker(seconds=20.0)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("answer", "key", "right"),
    [
        ("\\frac{1}{2}", "0.5", True),
        ("1/2", "\\frac12", True),
        ("x + 1", "1 + x", True),
        ("\\{1, 2\\}", "\\{2, 1\\}", True),
        ("\\sqrt{8}", "2\\sqrt{2}", True),
        ("(1, 2)", "(2, 1)", False),
        ("0", "0", True),
        ("6", "5", False),
        ("no mathematics at all", "5", False),
        ("5 or 6", "5", False),
        ("\\boxed{5", "5", False),
        ("", "5", False),
    ],
)
def test_mathematics(mathematics: MathChecker, answer: str, key: str, right: bool) -> None:
    assert mathematics.check(answer, key) is right


def test_bombs_are_wrong_within_the_limit_and_the_next_answer_is_checked() -> None:
    brief = MathChecker(seconds=2.0)
    started = time.monotonic()
    assert not brief.check("9^{9^{9^{9^{9}}}} + 1/7", "5")
    assert not brief.check("((((((((" * 500, "5")
    assert not brief.check("1" * 100_000, "5")
    assert brief.check("\\frac{10}{2}", "5")
    assert time.monotonic() - started < 120
    brief.close()


@pytest.mark.parametrize("answer", ["__import__('os')._exit(1)", "exit()", "\x00", "\udc80", "\\input{/etc/passwd}"])
def test_hostile_mathematics(mathematics: MathChecker, answer: str) -> None:
    assert not mathematics.check(answer, "5")
