"""Terms that compare calls with the teacher's, against worked examples and brute force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_rewards.arguments import best_matching, canonical
from reward_words import did, ran, score, showed

from mentor_kit.core.conversation import CallState, ToolCall
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError
from mentor_kit.core.frozen_model import Json

COMPARED = ("tool-match", "tool-overlap", "tool-f1", "tool-multiset-f1", "tool-order", "tool-arguments")
NAMES = st.lists(st.sampled_from(["add", "sqrt", "floor"]), max_size=6)
WEIGHTS = st.integers(1, 4).flatmap(
    lambda columns: st.lists(
        st.lists(st.sampled_from([0, 0.25, 0.5, 1]), min_size=columns, max_size=columns), min_size=1, max_size=4
    )
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, 0.1, "1", "a", " a ", "A"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
)


@pytest.mark.parametrize(
    ("used", "shown", "multiset", "order"),
    [
        # common: one a, one b of 3 + 2 names; longest common subsequence: a b
        ("a a b", "a b", 2 * 2 / 5, 2 * 2 / 5),
        ("a b", "a b", 1.0, 1.0),
        ("b a", "a b", 1.0, 2 * 1 / 4),
        ("a b c", "c b a", 1.0, 2 * 1 / 6),
        ("a x b y c", "a b c", 2 * 3 / 8, 2 * 3 / 8),
        ("a", "a a a", 2 * 1 / 4, 2 * 1 / 4),
        ("x", "a", 0.0, 0.0),
        ("", "a b", 0.0, 0.0),
    ],
)
def test_multiset_and_order(used: str, shown: str, multiset: float, order: float) -> None:
    trajectory, demonstration = did(*used.split()), showed(*shown.split())
    assert score("tool-multiset-f1", trajectory, [demonstration]) == pytest.approx(multiset)
    assert score("tool-order", trajectory, [demonstration]) == pytest.approx(order)


@given(NAMES, NAMES.filter(bool))
def test_order_is_brute_forces(used: list[str], shown: list[str]) -> None:
    subsequences = {kept for size in range(len(used) + 1) for kept in combinations(used, size)}
    longest = max(len(kept) for kept in subsequences if _is_within(kept, shown))
    found = score("tool-order", did(*used), [showed(*shown)], excess=None)
    assert found == pytest.approx(2 * longest / (len(used) + len(shown)))


@given(NAMES, NAMES)
def test_the_finer_terms_ask_for_more(used: list[str], shown: list[str]) -> None:
    scores = {name: score(name, did(*used), [showed(*shown)]) for name in COMPARED}
    assert scores["tool-order"] <= scores["tool-multiset-f1"] + 1e-12
    assert (scores["tool-multiset-f1"] == 1) <= (scores["tool-match"] == 1)
    # without arguments only the names can differ
    assert scores["tool-arguments"] == pytest.approx(scores["tool-multiset-f1"])
    assert all(0 <= value <= 1 for value in scores.values())


@pytest.mark.parametrize("name", COMPARED)
def test_a_teacher_without_tools(name: str) -> None:
    assert (score(name, did(), [showed()]), score(name, did("add"), [showed()])) == (1.0, 0.0)


@pytest.mark.parametrize("name", COMPARED)
def test_too_many_calls_are_worth_nothing(name: str) -> None:
    assert score(name, did(*["add"] * 4), [showed("add")]) > 0
    assert score(name, did(*["add"] * 5), [showed("add")]) == 0
    assert score(name, did(*["add"] * 5), [showed("add")], excess=None) > 0


@pytest.mark.parametrize("name", [*COMPARED, "call-economy"])
def test_the_best_of_several_right_demonstrations_counts(name: str) -> None:
    shown = [showed("sqrt", "sqrt"), showed("add"), showed("floor", right=False)]
    assert score(name, did("add"), shown) == 1.0
    assert score(name, did("floor"), shown[2:]) == 1.0
    if name != "call-economy":
        assert score(name, did("floor"), shown) == 0.0


@pytest.mark.parametrize("name", [*COMPARED, "call-economy"])
def test_without_a_demonstration_the_problem_is_named(name: str) -> None:
    with pytest.raises(DataError, match="'p' has no demonstration"):
        score(name, did("add"), [])


@pytest.mark.parametrize(
    ("used", "shown", "expected"),
    [
        ([ran("add", a=2, b=3)], [ran("add", a=2, b=3)], 1.0),
        ([ran("add", a=2, b=3)], [ran("add", b=3.0, a=2.0)], 1.0),
        # one of two arguments: F1 of a pair is 1/2, and 2 * 1/2 / (1 + 1)
        ([ran("add", a=2, b=9)], [ran("add", a=2, b=3)], 0.5),
        ([ran("add", a=3, b=2)], [ran("add", a=2, b=3)], 0.0),
        ([ran("subtract", a=2, b=3)], [ran("add", a=2, b=3)], 0.0),
        # order does not matter, and each call is matched once
        ([ran("add", a=1, b=1), ran("add", a=2, b=2)], [ran("add", a=2, b=2), ran("add", a=1, b=1)], 1.0),
        ([ran("add", a=1, b=1)] * 2, [ran("add", a=1, b=1)], 2 * 1 / 3),
        # greedy would match the first with the first (1/2) and leave the second unmatched
        ([ran("add", a=1, b=2), ran("add", a=1, b=1)], [ran("add", a=1, b=1), ran("add", a=5, b=2)], 2 * 1.5 / 4),
        # the default of `digits` is 0
        ([ran("round_number", number=2.5)], [ran("round_number", number=2.5, digits=0)], 1.0),
        ([ran("sum_numbers", numbers=[1, 2])], [ran("sum_numbers", numbers=[2, 1])], 0.0),
    ],
)
def test_arguments(used: list[ToolCall], shown: list[ToolCall], expected: float) -> None:
    assert score("tool-arguments", did(*used), [showed(*shown)]) == pytest.approx(expected)


def test_options_of_arguments() -> None:
    trajectory, shown = did(ran("add", a=2, b=9)), [showed(ran("add", a=2, b=3))]
    assert score("tool-arguments", trajectory, shown, partial=False) == 0.0
    assert score("tool-arguments", trajectory, shown, compare="names") == 1.0


def test_arguments_need_a_demonstration_with_its_calls() -> None:
    names_alone = Demonstration(problem_id="p", teacher="t", tools_used=("add",))
    with pytest.raises(DataError, match="'p'"):
        score("tool-arguments", did("add"), [names_alone])
    assert score("tool-arguments", did("add"), [names_alone, showed("add")]) == 1.0
    assert score("tool-arguments", did(), [Demonstration(problem_id="p", teacher="t", tools_used=())]) == 1.0


@pytest.mark.parametrize("state", [state for state in CallState if state is not CallState.EXECUTED])
@pytest.mark.parametrize("name", COMPARED)
def test_only_what_was_carried_out_counts(name: str, state: CallState) -> None:
    assert score(name, did(ToolCall(name="add", state=state)), [showed("add")]) == 0.0


@given(WEIGHTS)
def test_the_best_matching_is_brute_forces(weights: list[list[float]]) -> None:
    rows, columns = len(weights), len(weights[0])
    if rows <= columns:
        best = max(sum(weights[i][j] for i, j in enumerate(chosen)) for chosen in permutations(range(columns), rows))
    else:
        best = max(sum(weights[i][j] for j, i in enumerate(chosen)) for chosen in permutations(range(rows), columns))
    assert best_matching(weights) == pytest.approx(best)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (5, 5.0, True),
        (5, "5", False),
        (1, True, False),
        (0, False, False),
        (0, None, False),
        (-0.0, 0, True),
        (0.1 + 0.2, 0.3, True),
        (10**400, 10**400 + 1, False),
        ("a  b ", "a b", True),
        ("é", "e\u0301", True),
        ("A", "a", False),
        ([1, 2], [2, 1], False),
        ([1, 2], [1.0, 2.0], True),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({}, [], False),
        ({}, None, False),
        (float("nan"), float("nan"), True),
    ],
)
def test_canonical_values(left: Json, right: Json, same: bool) -> None:
    assert (canonical(left) == canonical(right)) is same


@given(VALUES)
def test_a_value_is_canonically_itself(value: Json) -> None:
    assert canonical(value) == canonical(value)
    assert hash(canonical(value)) == hash(canonical(value))


@given(st.lists(st.builds(ran, st.sampled_from(["add", "sqrt"]), a=SCALARS, b=VALUES), max_size=5))
def test_a_copy_of_the_teachers_calls_is_as_good_as_can_be(calls: Sequence[ToolCall]) -> None:
    assert score("tool-arguments", did(*calls), [showed(*calls)]) == pytest.approx(1.0)


def _is_within(kept: Sequence[str], shown: Sequence[str]) -> bool:
    rest = iter(shown)
    return all(name in rest for name in kept)
