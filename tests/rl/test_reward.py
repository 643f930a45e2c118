"""The reward's equation with terms made for the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import PluginError
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rl.reward import Gate, Reward, Term, WeightedTerm

PROBLEM = Problem(id="p", question="?", answer="")


class Fixed(Term):
    def __init__(self, value: Any) -> None:
        self.value = value

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return self.value  # type: ignore[no-any-return]


def played(correct: bool = True) -> Trajectory:
    return Trajectory(id="t", problem_id="p", agent="a", messages=(), ending=Ending.ANSWERED, correct=correct)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1)), max_size=4),
    st.lists(st.tuples(st.floats(0, 1), st.floats(-2, 2), st.floats(0, 1)), max_size=4),
    st.booleans(),
)
def test_the_equation(
    gates: list[tuple[float, float, float]], terms: list[tuple[float, float, float]], correct: bool
) -> None:
    reward = Reward(
        tuple(Gate(f"g{i}", Fixed(s), otherwise, threshold) for i, (s, threshold, otherwise) in enumerate(gates)),
        tuple(WeightedTerm(f"t{i}", Fixed(s), weight, factor) for i, (s, weight, factor) in enumerate(terms)),
    )
    found = reward(played(correct), PROBLEM, [])
    failed = [i for i, (s, threshold, _) in enumerate(gates) if s < threshold]
    if failed:
        assert (found.total, found.gate, found.terms) == (gates[failed[0]][2], f"g{failed[0]}", {})
        return
    values = [s * weight * (1 if correct else factor) for s, weight, factor in terms]
    assert found.total == pytest.approx(sum(values))
    assert [item.value for item in found.terms.values()] == pytest.approx(values)
    assert found.gate == ""
    assert found.total <= reward.maximum + 1e-9


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "1", None])
def test_a_score_outside_the_unit_interval_is_the_plugins_fault(value: Any) -> None:
    with pytest.raises(PluginError, match=r"'odd' .* 'p'"):
        Reward(terms=(WeightedTerm("odd", Fixed(value), 1.0),))(played(), PROBLEM, [])
    with pytest.raises(PluginError, match="'odd'"):
        Reward(gates=(Gate("odd", Fixed(value), 0.0),))(played(), PROBLEM, [])


@pytest.mark.parametrize("value", [True, 1, 0])
def test_whole_numbers_and_truth_values_are_scores(value: Any) -> None:
    assert Reward(terms=(WeightedTerm("t", Fixed(value), 1.0),))(played(), PROBLEM, []).total == float(value)
