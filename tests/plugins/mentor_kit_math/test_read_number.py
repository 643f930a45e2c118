"""Reading answers: what people write is read, everything else is no number, and nothing takes long."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.number_reading import read_number

from mentor_kit.core.conversation import assistant
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5),
        ("5.0", 5),
        ("5.", 5),
        (".5", 0.5),
        ("+7", 7),
        ("-3", -3),
        ("−3", -3),
        ("−1,234.5", -1234.5),
        ("  42 \n", 42),
        ("1,234.50", 1234.5),
        ("1,234,567", 1234567),
        ("1,234.", 1234),
        ("007", 7),
        ("1e3", 1000),
        ("2.5E-1", 0.25),
    ],
)
def test_numbers(text: str, number: float) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "-", "+", "−", "e5", "5e", "--3", "+-3", "3-", "1.2.3", "five", "5 apples", "1 234", "5\x00"),
        *(
            "nan",
            "-nan",
            "inf",
            "-inf",
            "Infinity",
            "1e999",
            "-1e999",
            "1" + "0" * 400,
            "0x10",
            "1_000",
            "٣",
            "½",
            "５",
        ),
        *("1,23", "12,34.5", "1234,567", ",123", "1,234,", "1,,234", "1.234,567", "1e0,005", "1,234e5,000", "1;2"),
        *("5,", "1/2", "50%", "$5", "(5)", "5 or 6", "[5]", "2**9", "10**10", "True", "None", "1+1"),
    ],
)
def test_what_is_no_number(text: str) -> None:
    assert read_number(text) is None


@given(st.text() | st.text("0123456789+-−.,eE nafi\n") | st.text("0123456789.,"))
def test_any_text_gives_a_finite_number_or_none(text: str) -> None:
    found = read_number(text)
    assert found is None or math.isfinite(found)


@given(st.integers(-9_999_999, 9_999_999), st.sampled_from(["{:.2f}", "{:,.2f}", " {:,.2f}", "{:.2f}.", "{:+.2f}"]))
def test_every_way_of_writing_a_number_of_two_decimals(hundredths: int, form: str) -> None:
    assert read_number(form.format(hundredths / 100)) == hundredths / 100
    assert read_number(form.format(hundredths / 100).replace("-", "−")) == hundredths / 100


@pytest.mark.parametrize("unit", ["9", ",", ".", "-", " ", "−", "1,", "1e", "\n", "\\boxed{", "{", "٣", "\ud800"])
def test_quick_on_long_texts(unit: str) -> None:
    problem = Problem(id="p", question="q", answer="5")
    task = ArithmeticTask()
    started = time.perf_counter()
    assert read_number(unit * 1_000_000) is None
    assert not task.check(unit * 1_000_000, problem)
    assert time.perf_counter() - started < 0.5


class TestCheck:
    @pytest.mark.parametrize("answer", ["1234.5", "1,234.50", " 1234.5 ", "1234.504", "1234.496", "1.2345e3"])
    def test_right(self, answer: str) -> None:
        assert ArithmeticTask().check(answer, Problem(id="p", question="q", answer="1234.5"))

    @pytest.mark.parametrize(
        "answer", ["1234.51", "1234.49", "1234", "-1234.5", "1234,5", "", "nan", "inf", "1234.5 or 7", "all", "1e400"]
    )
    def test_wrong(self, answer: str) -> None:
        assert not ArithmeticTask().check(answer, Problem(id="p", question="q", answer="1234.5"))

    def test_not_a_number_equals_nothing(self) -> None:
        for key in ("nan", "inf", ""):
            assert not ArithmeticTask().check(key, Problem(id="p", question="q", answer=key))

    @given(st.text(), st.text())
    def test_never_raises(self, answer: str, key: str) -> None:
        assert ArithmeticTask().check(answer, Problem(id="p", question="q", answer=key)) in (True, False)


class TestAnswer:
    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            (r"\boxed{5}", "5"),
            (r"It is \boxed{ 5.0 }.", "5.0"),
            (r"\boxed{5} and again \boxed{5}", "5"),
            (r"\boxed{5} or \boxed{6}", None),
            (r"\boxed{}", None),
            (r"\boxed{5", None),
            ("5", None),
            ("", None),
        ],
    )
    def test_one_box_of_the_last_turn(self, text: str, answer: str | None) -> None:
        assert ArithmeticTask().answer(self._said(text, Ending.ANSWERED)) == answer

    def test_an_episode_that_did_not_end_has_none(self) -> None:
        for ending in (Ending.LENGTH, Ending.MAX_TURNS, Ending.CONTEXT_FULL):
            assert ArithmeticTask().answer(self._said(r"\boxed{5}", ending)) is None

    def _said(self, text: str, ending: Ending) -> Trajectory:
        return Trajectory(id="t", problem_id="p", agent="a", messages=(assistant(text),), ending=ending)
