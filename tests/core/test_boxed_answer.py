r"""`boxed_answer` against a brute-force twin that walks the text character by character."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.task import boxed_answer


def twin(text: str) -> str | None:
    answers: list[str] = []
    for start in range(len(text)):
        rest = text[start:]
        if not rest.startswith("\\boxed"):
            continue
        after = rest[len("\\boxed") :].lstrip()
        if not after.startswith("{"):
            continue
        depth, content = 0, None
        for place, character in enumerate(after):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth == 0:
                content = after[1:place].strip()
                break
        if not content:
            return None
        answers.append(content)
    return answers[0] if len(set(answers)) == 1 else None


PIECES = st.lists(st.sampled_from(["\\boxed", "{", "}", " ", "\n", "5", "x", "\\", "{5}", "\\boxed{5}", "boxed{6}"]))


@given(PIECES.map("".join))
def test_it_agrees_with_the_twin(text: str) -> None:
    assert boxed_answer(text) == twin(text)


@given(st.text(max_size=40))
def test_a_boxed_text_comes_back(text: str) -> None:
    plain = text.replace("{", "").replace("}", "")
    if "\\boxed" not in plain:
        assert boxed_answer(f"so \\boxed{{{plain}}}.") == (plain.strip() or None)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The result is \boxed{42}.", "42"),
        (r"\boxed { \frac{1}{2} }", r"\frac{1}{2}"),
        (r"\boxed{4} and again \boxed{ 4 }", "4"),
        (r"\boxed{4} or \boxed{5}", None),
        (r"\boxed{}", None),
        (r"\boxed{4", None),
        (r"\boxed{\boxed{4}}", None),
        ("42", None),
        ("", None),
    ],
)
def test_by_hand(text: str, answer: str | None) -> None:
    assert boxed_answer(text) == answer


@pytest.mark.parametrize("piece", ["\\boxed{", "\\boxed{1", "{", "\\boxed{1}", "\\boxed "])
def test_hostile_texts_are_quick(piece: str) -> None:
    start = time.process_time()
    boxed_answer(piece * 50_000)
    assert time.process_time() - start < 1.0
