"""Advantages against numbers worked by hand, and against the suite of estimators with loops written from the papers."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import PluginError
from mentor_kit.hooks import BuildContext, default_registry
from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.losses.ppo import PPO, PPOOptions
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.testing.advantages import AdvantageContract, AdvantageTwin, Groups, outcomes_of


def registered(name: str) -> AdvantageEstimator:
    found = default_registry().build("advantages", ComponentSpec(use=name), BuildContext(default_registry()))
    assert isinstance(found, AdvantageEstimator)
    return found


def by_group(formula: Any) -> AdvantageTwin:
    """A twin from a formula over a group's rewards and the place of the rollout in it."""
    return lambda groups: [[formula(row, g) for g in range(len(row))] for row in groups.rewards]


def deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


class TestGroupMean(AdvantageContract):
    @pytest.fixture
    def estimator(self) -> AdvantageEstimator:
        return registered("group_mean")

    @pytest.fixture
    def twin(self) -> AdvantageTwin:
        return by_group(lambda row, g: row[g] - statistics.fmean(row))


class TestGroupMeanStd(AdvantageContract):
    @pytest.fixture
    def estimator(self) -> AdvantageEstimator:
        return registered("group_mean_std")

    @pytest.fixture
    def twin(self) -> AdvantageTwin:
        return by_group(lambda row, g: (row[g] - statistics.fmean(row)) / (deviation(row) + 1e-6))


class TestLeaveOneOut(AdvantageContract):
    @pytest.fixture
    def estimator(self) -> AdvantageEstimator:
        return registered("leave_one_out")

    @pytest.fixture
    def twin(self) -> AdvantageTwin:
        def one(row: list[float], g: int) -> float:
            others = row[:g] + row[g + 1 :]
            return row[g] - (statistics.fmean(others) if others else 0.0)

        return by_group(one)


class TestBatchMeanStd(AdvantageContract):
    groups_apart = False

    @pytest.fixture
    def estimator(self) -> AdvantageEstimator:
        return registered("batch_mean_std")

    @pytest.fixture
    def twin(self) -> AdvantageTwin:
        def twin(groups: Groups) -> list[list[float]]:
            every = [reward for row in groups.rewards for reward in row]
            mean, spread = statistics.fmean(every), deviation(every) + 1e-6
            return [[(reward - mean) / spread for reward in row] for row in groups.rewards]

        return twin


def test_worked_by_hand() -> None:
    rewards = [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 2.0]]
    outcomes = outcomes_of(Groups(rewards, [[5] * 4] * 2, [[True] * 4] * 2))

    def advantages(name: str) -> Any:
        return registered(name).advantages(np, outcomes)

    # group means .5 and .5; sample variances (4 · .25) / 3 and (3 · .25 + 2.25) / 3
    np.testing.assert_allclose(advantages("group_mean"), [[0.5, -0.5, -0.5, 0.5], [-0.5, -0.5, -0.5, 1.5]])
    np.testing.assert_allclose(
        advantages("group_mean_std"),
        [[0.866025, -0.866025, -0.866025, 0.866025], [-0.5, -0.5, -0.5, 1.5]],
        atol=1e-5,
    )
    # the mean of the others: (1 of 3) for a right one, (2 of 3) for a wrong one
    np.testing.assert_allclose(
        advantages("leave_one_out"), [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [-2 / 3, -2 / 3, -2 / 3, 2.0]]
    )
    # batch mean .5, sample variance (1 + 3) / 7
    np.testing.assert_allclose(
        advantages("batch_mean_std"),
        np.array([[0.5, -0.5, -0.5, 0.5], [-0.5, -0.5, -0.5, 1.5]]) / math.sqrt(4 / 7),
        atol=1e-5,
    )


class Fixed(AdvantageEstimator):
    def __init__(self, found: Any) -> None:
        self.found = found

    def advantages(self, xp: Any, outcomes: Outcomes) -> Any:
        return self.found


@pytest.mark.parametrize("found", [np.zeros((2, 1)), np.zeros(2), np.full((2, 2), math.nan), [[0.0, math.inf]] * 2])
def test_what_an_estimator_must_not_return_is_the_plugins_fault(found: Any) -> None:
    objective = Objective(ObjectiveSpec(advantage="fixed"), PPO(PPOOptions()), Fixed(found))
    with pytest.raises(PluginError, match="'fixed'"):
        objective.advantages(outcomes_of(Groups([[1.0, 0.0]] * 2, [[1, 1]] * 2, [[True, True]] * 2)))


def test_the_rewards_weight_is_on_its_advantages() -> None:
    objective = Objective(ObjectiveSpec(reward=0.5), PPO(PPOOptions()), Fixed([[2.0, -4.0]]))
    outcomes = outcomes_of(Groups([[1.0, 0.0]], [[1, 1]], [[True, False]]))
    assert objective.advantages(outcomes).tolist() == [[1.0, -2.0]]
