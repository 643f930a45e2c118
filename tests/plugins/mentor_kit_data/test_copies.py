"""The question's own expression is no answer; what the question offers, and what was worked out, is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from data_helpers import built, json_lines
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_data.checking import NumberChecker
from mentor_kit_data.copies import is_copied

COPIED = [
    (r"What is $68/2$?", "68/2", "34"),
    (r"What is $\frac{68}{2}$?", r"\frac{68}{2}", "34"),
    (r"Simplify $\dfrac{ 6 }{ 4 }$.", r"\frac{6}{4}", r"\frac{3}{2}"),
    (r"Simplify $\sqrt{8}$.", r"\sqrt{8}", r"2\sqrt{2}"),
    (r"Simplify $\sqrt{8}$.", r" $\sqrt{8}$. ", r"2\sqrt{2}"),
    (r"Expand $(x + 1)^2$.", "(x+1)^2", "x^2+2x+1"),
    (r"Factor $x^2 - 1$.", r"x^2-1", "(x-1)(x+1)"),
    (r"Compute $2^{10} \cdot 3$.", r"2^{10}\cdot3", r"3 \cdot 2^{10}"),
    (r"Solve $y - 2x = 1$ for $y$.", "y - 2x = 1", "y = 2x + 1"),
    (r"What is $\left(\sin x\right)^2 + \cos^2 x + x$?", r"(\sin x)^2 + \cos^2 x + x", "1 + x"),
]
NOT_COPIED = [
    (r"Simplify $\sqrt{8}$.", r"2\sqrt{2}", r"2\sqrt{2}"),
    (r"Simplify $\sqrt{8}$.", r"\sqrt{2}\cdot 2", r"2\sqrt{2}"),
    (r"Which is larger, $2\sqrt{2}$ or $\sqrt{7}$?", r"2\sqrt{2}", r"2\sqrt{2}"),
    (r"Which is larger, $\sqrt{8}$, that is $2\sqrt{2}$, or $\sqrt{7}$?", r"\sqrt{8}", r"2\sqrt{2}"),
    ("A tank is 1/2 full. How full is it?", "1/2", "0.5"),
    ("There are 34 apples and 20 pears. How many apples?", "34", "34.0"),
    ("There are 1,000 apples. How many?", "1,000", "1000"),
    (r"Find $2x + 1$ for $x = x$.", "x+1", "1+x"),
    (r"What is $12/4$ of it?", "2/4", r"\frac12"),
    (r"Area in terms of $\pi$?", r"\pi", r"1\pi"),
    ("What is the opposite of 5?", "-5", "-5.0"),
]


@pytest.mark.parametrize(("question", "answer", "key"), COPIED)
def test_what_is_copied(question: str, answer: str, key: str) -> None:
    assert is_copied(answer, key, question)
    assert not is_copied(answer, key, "")


@pytest.mark.parametrize(("question", "answer", "key"), NOT_COPIED)
def test_what_is_not(question: str, answer: str, key: str) -> None:
    assert not is_copied(answer, key, question)


@pytest.mark.parametrize("kind", ["rows", "benchmarks", "mentor-parquet"])
def test_tasks_know_their_questions(tmp_path: Path, kind: str) -> None:
    from data_helpers import authors_row, parquet_file

    question = r"Simplify $\sqrt{8}$."
    if kind == "rows":
        json_lines(tmp_path / "a.jsonl", {"question": question, "answer": r"2\sqrt{2}"})
        task = built("tasks", "rows", tmp_path, files={"amc23": "a.jsonl"}, check="math")
    elif kind == "benchmarks":
        json_lines(tmp_path / "a.jsonl", {"question": question, "answer": r"2\sqrt{2}"})
        task = built("tasks", "benchmarks", tmp_path, sets={"amc23": "a.jsonl"})
    else:
        parquet_file(tmp_path / "a.parquet", authors_row(question=question, truth=r"2\sqrt{2}"))
        task = built("tasks", "mentor-parquet", tmp_path, files={"amc23": "a.parquet"})
    (problem,) = task.problems("amc23", 0, 9)
    assert task.check(r"2\sqrt{2}", problem)
    assert task.check(r"\sqrt{4}\sqrt{2}", problem)
    assert not task.check(r"\sqrt{8}", problem)
    task.close()


@given(st.integers(2, 99), st.integers(2, 99), st.sampled_from(["", "What is ", "Half of it is "]))
def test_a_division_is_carried_out(quotient: int, divisor: int, words: str) -> None:
    asked = f"{quotient * divisor}/{divisor}"
    check = NumberChecker().check
    assert check(str(quotient), str(quotient), question=f"{words}{asked}?")
    key_is_asked = re.search(rf"(?<![0-9]){quotient}(?![0-9])", asked) is not None
    assert check(asked, str(quotient), question=f"{words}{asked}?") is key_is_asked


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_no_text_harms_it(answer: str, key: str, question: str) -> None:
    assert isinstance(is_copied(answer, key, question), bool)
