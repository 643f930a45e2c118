"""Advantages against numbers worked by hand, and against loops written from the papers."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext, default_registry
from mentor_kit.rl.advantages.estimator import Outcomes
from mentor_kit.rl.advantages.statistics import STD_FLOOR


def advantages(xp: Any, rewards: Any, estimator: str) -> Any:
    """By the registered estimator of that name."""
    built = default_registry().build("advantages", ComponentSpec(use=estimator), BuildContext(default_registry()))
    return built.advantages(xp, Outcomes(rewards, xp.ones_like(rewards), xp.ones_like(rewards)))


ESTIMATORS = ["group_mean", "group_mean_std", "leave_one_out", "batch_mean_std"]


def test_worked_by_hand() -> None:
    rewards = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 2.0]])
    # group means .5 and .5; sample variances (4 · .25) / 3 and (3 · .25 + 2.25) / 3
    np.testing.assert_allclose(advantages(np, rewards, "group_mean"), [[0.5, -0.5, -0.5, 0.5], [-0.5, -0.5, -0.5, 1.5]])
    np.testing.assert_allclose(
        advantages(np, rewards, "group_mean_std"),
        [[0.866025, -0.866025, -0.866025, 0.866025], [-0.5, -0.5, -0.5, 1.5]],
        atol=1e-5,
    )
    # the mean of the others: (1 of 3) for a right one, (2 of 3) for a wrong one
    np.testing.assert_allclose(
        advantages(np, rewards, "leave_one_out"), [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [-2 / 3, -2 / 3, -2 / 3, 2.0]]
    )
    # batch mean .5, sample variance (1 + 3) / 7
    std = math.sqrt(4 / 7)
    np.testing.assert_allclose(
        advantages(np, rewards, "batch_mean_std"),
        np.array([[0.5, -0.5, -0.5, 0.5], [-0.5, -0.5, -0.5, 1.5]]) / std,
        atol=1e-5,
    )


def twin(rows: list[list[float]], estimator: str) -> list[list[float]]:
    everything = [r for row in rows for r in row]

    def one(row: list[float], place: int) -> float:
        reward, others = row[place], row[:place] + row[place + 1 :]
        match estimator:
            case "group_mean":
                return reward - statistics.fmean(row)
            case "group_mean_std":
                spread = statistics.stdev(row) if others else 0.0
                return (reward - statistics.fmean(row)) / (spread + STD_FLOOR)
            case "leave_one_out":
                return reward - (statistics.fmean(others) if others else 0.0)
            case _:
                spread = statistics.stdev(everything) if len(everything) > 1 else 0.0
                return (reward - statistics.fmean(everything)) / (spread + STD_FLOOR)

    return [[one(row, place) for place in range(len(row))] for row in rows]


REWARDS = st.sampled_from([0.0, 0.06, 0.1, 0.16, 0.7, 0.8, 1.0, 1.1]) | st.floats(-5, 5)
GROUPS = st.integers(1, 6).flatmap(
    lambda g: st.lists(st.lists(REWARDS, min_size=g, max_size=g), min_size=1, max_size=5)
)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(rows=GROUPS)
def test_estimators_are_their_loop_twins(estimator: Any, rows: list[list[float]]) -> None:
    np.testing.assert_allclose(advantages(np, np.array(rows), estimator), twin(rows, estimator), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_torch_agrees_with_numpy(estimator: Any) -> None:
    torch = pytest.importorskip("torch")
    rewards = np.random.default_rng(0).random((4, 6))
    found = advantages(torch, torch.tensor(rewards), estimator).numpy()
    np.testing.assert_allclose(found, advantages(np, rewards, estimator), rtol=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("value", [0.0, 0.1, 0.8, 1.1])
@pytest.mark.parametrize("size", [2, 3, 5, 7, 8])
def test_a_group_without_spread_has_exact_zeros(estimator: Any, value: float, size: int) -> None:
    for dtype in (np.float32, np.float64):
        assert not advantages(np, np.full((1, size), value, dtype=dtype), estimator).any()
