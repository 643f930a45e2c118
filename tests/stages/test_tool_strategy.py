"""The choice and order of calls beside a teacher's: episodes by hand, and subsequences by trying all."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_fakes import Digits, demonstration, trajectory

from mentor_kit.core.conversation import CallState, Message, assistant, call, user
from mentor_kit.core.demonstration import Demonstrations
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.stages.tool_strategy import common_length, strategy_metrics

PROBLEMS = Digits().problems("train", 0, 3)


def shown(*tools: str, correct: bool = True, problem: int = 0) -> Demonstrations:
    return Demonstrations([demonstration(PROBLEMS[problem], correct=correct, tools=tools)])


def played(*tools: str, correct: bool = False) -> Trajectory:
    return trajectory(PROBLEMS[0].id, "1", correct=correct, tools=tools)


@pytest.mark.parametrize(
    ("own", "teacher", "needless", "missing", "order"),
    [
        ("abc", "abc", 0, 0, 1),
        ("", "abc", 0, 3, 0),
        ("cba", "abc", 0, 0, 1 / 3),
        ("abcc", "abc", 1, 0, 1),
        ("abx", "abc", 1, 1, 2 / 3),
        ("aa", "a", 1, 0, 1),
    ],
)
def test_beside_the_teachers_calls(own: str, teacher: str, needless: int, missing: int, order: float) -> None:
    found = strategy_metrics([played(*own)], shown(*teacher))
    assert (found["needless_calls"], found["missing_calls"]) == (needless, missing)
    assert found["teacher_order"] == pytest.approx(order)


def test_a_teacher_without_calls_has_no_order() -> None:
    found = strategy_metrics([played("a")], shown())
    assert found == {"needless_calls": 1, "missing_calls": 0}


def test_problems_that_the_teacher_did_not_solve_are_left_out() -> None:
    assert strategy_metrics([played("a")], shown("a", correct=False)) == {}
    assert strategy_metrics([played("a")], shown("a", problem=1)) == {}


def test_calls_a_right_answer_are_over_all_episodes() -> None:
    episodes = [played("a", "b", correct=True), played("a"), played(correct=True)]
    assert strategy_metrics(episodes, Demonstrations([]))["calls_per_right_answer"] == 1.5
    assert strategy_metrics([], Demonstrations([])) == {}


@pytest.mark.parametrize(
    ("turns", "rate"),
    [
        ([[CallState.EXECUTED]], None),
        ([[CallState.FAILED], [CallState.EXECUTED]], 1),
        ([[CallState.EXECUTED], [CallState.FAILED]], 0),
        ([[CallState.FAILED, CallState.EXECUTED]], 0),
        ([[CallState.MALFORMED], [CallState.UNKNOWN_TOOL], [CallState.EXECUTED], [CallState.INVALID_ARGUMENTS]], 2 / 3),
    ],
)
def test_recoveries(turns: list[list[CallState]], rate: float | None) -> None:
    messages: list[Message] = [user("q")]
    messages += [assistant(calls=[call("a").at(state) for state in states]) for states in turns]
    episode = Trajectory(id="p#0", problem_id="p", agent="x", messages=tuple(messages), ending=Ending.MAX_TURNS)
    assert strategy_metrics([episode], Demonstrations([])).get("recovery_rate") == (
        None if rate is None else pytest.approx(rate)
    )


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_common_subsequences_are_those_of_trying_all(one: str, other: str) -> None:
    def subsequences(text: str) -> set[str]:
        return {"".join(chosen) for size in range(len(text) + 1) for chosen in combinations(text, size)}

    assert common_length(one, other) == max(map(len, subsequences(one) & subsequences(other)))
