"""Paired differences over seeds and problems: worked by hand, and by the share of intervals that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.utils.crossed import crossed_difference
from mentor_kit.utils.statistics import paired_difference

TABLES = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=width, max_size=width), min_size=1, max_size=5
    )
)


def test_by_hand() -> None:
    """Two seeds and two problems: mean squares 0.09 of seeds, 0.01 of problems and 0.0225 of the rest."""
    table = [[0.5, 0.25], [0.05, 0.1]]
    # seeds' means 0.375 and 0.075, problems' means 0.275 and 0.175, residuals of 0.075
    found = crossed_difference(table)
    assert found.mean == pytest.approx(0.225)
    assert found.count == 4
    # seeds alone are more than all together: SE² = 0.09 / 4, with one degree of freedom
    assert (found.low, found.high) == (-1.0, 1.0)
    assert 0.225 + 12.706 * 0.15 > 1


def test_mean_squares_are_those_of_least_squares() -> None:
    """The half width against the mean squares that fitted models of NumPy's give."""
    chance = np.random.default_rng(3)
    seeds, problems = 6, 9
    table = 0.1 + 0.05 * chance.normal(size=(seeds, 1)) + 0.1 * chance.normal(size=(1, problems))
    table = np.clip(table + 0.1 * chance.normal(size=(seeds, problems)), -1, 1)
    rows = np.repeat(np.eye(seeds), problems, axis=0)
    columns = np.tile(np.eye(problems), (seeds, 1))
    ones = np.ones((seeds * problems, 1))

    def left(*parts: np.ndarray) -> float:
        design = np.hstack([ones, *parts])
        fit = design @ np.linalg.lstsq(design, table.ravel(), rcond=None)[0]
        return float(((table.ravel() - fit) ** 2).sum())

    a = (left(columns) - left(rows, columns)) / (seeds - 1)
    b = (left(rows) - left(rows, columns)) / (problems - 1)
    e = left(rows, columns) / ((seeds - 1) * (problems - 1))
    assert min(a, b) > e
    square = a + b - e
    freedom = square**2 / (a**2 / 5 + b**2 / 8 + e**2 / 40)
    student = {8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201, 12: 2.179, 13: 2.160}[int(freedom)]
    found = crossed_difference(table.tolist())
    half = student * (square / (seeds * problems)) ** 0.5
    assert (found.mean, found.high) == pytest.approx((table.mean(), table.mean() + half), abs=1e-4)


@pytest.mark.parametrize(("seeds", "problems"), [(3, 60), (10, 60)])
@pytest.mark.parametrize("of_seeds", [0.0, 0.1])
def test_intervals_hold_the_truth_nineteen_times_of_twenty(seeds: int, problems: int, of_seeds: float) -> None:
    chance = np.random.default_rng(seeds)
    held = 0
    for _ in range(400):
        table = 0.05 + of_seeds * chance.normal(size=(seeds, 1)) + 0.2 * chance.normal(size=(1, problems))
        found = crossed_difference((table + 0.2 * chance.normal(size=(seeds, problems))).tolist())
        held += found.low <= 0.05 <= found.high
    # 380 of 400 expected; three standard deviations below, and no interval that says nothing
    assert 367 <= held <= 398


@given(TABLES)
def test_any_table_has_an_interval_around_its_mean(table: list[list[float]]) -> None:
    found = crossed_difference(table)
    assert -1 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= 1
    turned = crossed_difference([[-value for value in row] for row in table])
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_one_seed_is_over_problems_alone() -> None:
    before, after = [0.25, 0.5, 0.75, 0.5], [0.5, 0.75, 0.75, 0.75]
    found = crossed_difference([[late - early for early, late in zip(before, after, strict=True)]])
    expected = paired_difference(before, after)
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))


@pytest.mark.parametrize("table", [[], [[0.1], [0.1, 0.2]]])
def test_what_is_no_table(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="rows"):
        crossed_difference(table)
