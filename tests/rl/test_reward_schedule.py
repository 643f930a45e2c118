"""Weights that change over a stage, and terms that are told beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import UsageError
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rl.reward import Case, Gate, Reward, Schedule, Term, WeightedTerm

PROBLEM = Problem(id="p", question="?", answer="")
SHARES = st.floats(0, 1)


class Full(Term):
    """Always 1; notes what it is prepared for."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def prepare(self, cases: Sequence[Case]) -> None:
        self.told.append(len(cases))

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        return float(trajectory.ended)


def played(correct: bool = True, ending: Ending = Ending.ANSWERED) -> Trajectory:
    return Trajectory(id="t", problem_id="p", agent="a", messages=(), ending=ending, correct=correct)


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        (Schedule(), 0.3, 1.0),
        (Schedule(start=1, end=0), 0.0, 1.0),
        (Schedule(start=1, end=0), 0.25, 0.75),
        (Schedule(start=1, end=0), 1.0, 0.0),
        (Schedule(start=0, end=2, over=(0.2, 0.6)), 0.1, 0.0),
        (Schedule(start=0, end=2, over=(0.2, 0.6)), 0.3, 0.5),
        (Schedule(start=0, end=2, over=(0.2, 0.6)), 0.6, 2.0),
        (Schedule(start=0, end=2, over=(0.2, 0.6)), 0.9, 2.0),
        (Schedule(start=1, end=0, shape="cosine"), 1 / 3, 0.75),
        (Schedule(start=1, end=0, shape="cosine"), 0.5, 0.5),
        (Schedule(start=3, end=1, over=(0.5, 0.5)), 0.49, 3.0),
        (Schedule(start=3, end=1, over=(0.5, 0.5)), 0.5, 1.0),
        (Schedule(start=3, end=1, over=(0.0, 0.0)), 0.0, 1.0),
        (Schedule(start=3, end=1, over=(1.0, 1.0)), 1.0, 1.0),
    ],
)
def test_factors(schedule: Schedule, progress: float, factor: float) -> None:
    assert schedule.factor(progress) == pytest.approx(factor)


@given(st.floats(0, 3), st.floats(0, 3), SHARES, SHARES, SHARES, SHARES, st.sampled_from(["linear", "cosine"]))
def test_a_factor_goes_one_way_and_stays_between_its_ends(
    start: float, end: float, first: float, last: float, early: float, late: float, shape: str
) -> None:
    schedule = Schedule.model_validate(
        {"start": start, "end": end, "over": (min(first, last), max(first, last)), "shape": shape}
    )
    before, after = schedule.factor(min(early, late)), schedule.factor(max(early, late))
    assert min(start, end) - 1e-9 <= before <= max(start, end) + 1e-9
    assert (after - before) * (end - start) >= -1e-9


@pytest.mark.parametrize("over", [(0.6, 0.2), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_over_runs_forwards_within_a_stage(over: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="`over` is two shares of a stage"):
        Schedule(over=over)


def test_the_weight_follows_the_schedule_and_when_wrong() -> None:
    fading = Schedule(start=1.0, end=0.2)
    reward = Reward(terms=(WeightedTerm("a", Full(), 0.5, 0.4, fading), WeightedTerm("b", Full(), 0.1)))
    assert reward(played(), PROBLEM, [], progress=0.0).total == pytest.approx(0.6)
    assert reward(played(), PROBLEM, [], progress=0.5).total == pytest.approx(0.5 * 0.6 + 0.1)
    assert reward(played(), PROBLEM, []).total == pytest.approx(0.5 * 0.2 + 0.1)
    assert reward(played(correct=False), PROBLEM, [], progress=0.5).total == pytest.approx(0.5 * 0.6 * 0.4 + 0.1)
    assert reward.maximum == pytest.approx(0.6)


def test_terms_are_told_of_what_passes_the_gates_before_them() -> None:
    gate, term = Full(), Full()
    reward = Reward((Gate("g", gate, 0.0),), (WeightedTerm("t", term, 1.0),))
    reward.prepare([(played(), PROBLEM, []), (played(ending=Ending.LENGTH), PROBLEM, [])])
    reward.prepare([])
    assert (gate.told, term.told) == ([2], [1])
