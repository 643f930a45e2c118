"""Contract suite for advantage estimators; subclass it in the tests of a package that has one.

class TestMyEstimator(AdvantageContract):
    @pytest.fixture
    def estimator(self) -> AdvantageEstimator:
        return MyEstimator()

    @pytest.fixture
    def twin(self) -> AdvantageTwin:
        return my_loop            # the advantage of every rollout, by plain loops over `Groups`

A twin is written from the formula, in plain Python, and shares no code with the estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.testing.namespaces import DIFFERENTIABLE, Namespace

#: Numbers of problems and of rollouts of each.
SHAPES = ((1, 1), (1, 2), (3, 1), (1, 8), (4, 5), (6, 3))


@dataclass(frozen=True)
class Groups:
    """Groups of rollouts as plain lists: `rewards[p][g]` is that of rollout g of problem p."""

    rewards: list[list[float]]
    lengths: list[list[int]]
    """Sampled tokens; 0 where the prompt left no room."""
    ended: list[list[bool]]


#: The advantage of every rollout, in lists like those of the groups.
AdvantageTwin = Callable[[Groups], list[list[float]]]


class AdvantageContract:
    """What every advantage estimator is held to. A namespace that is not installed is skipped."""

    groups_apart: ClassVar[bool] = True
    """Whether a group's advantages depend on that group alone; set False for an estimator that compares groups."""
    zero_without_spread: ClassVar[bool] = True
    """Whether equal rewards get exact zeros; set False for an estimator that learns from lengths or endings, too."""

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("shape", SHAPES)
    def test_advantages_are_the_twins(
        self, estimator: AdvantageEstimator, twin: AdvantageTwin, shape: tuple[int, int], seed: int
    ) -> None:
        groups = random_groups(shape, seed)
        np.testing.assert_allclose(_numbers(estimator, groups), twin(groups), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("name", DIFFERENTIABLE)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_other_namespaces_agree_with_numpy(
        self, estimator: AdvantageEstimator, name: str, shape: tuple[int, int]
    ) -> None:
        groups, space = random_groups(shape, 0), Namespace.of(name)
        found = space.numbers(estimator.advantages(space.xp, outcomes_of(groups, space)))
        np.testing.assert_allclose(found, _numbers(estimator, groups), rtol=space.tolerance, atol=space.tolerance)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_results_have_the_rewards_shape_and_type(
        self, estimator: AdvantageEstimator, dtype: type[Any], shape: tuple[int, int]
    ) -> None:
        found = estimator.advantages(np, outcomes_of(random_groups(shape, 1), Namespace(np, dtype)))
        assert (found.shape, found.dtype) == (shape, np.dtype(dtype))

    @pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_advantages_are_finite(self, estimator: AdvantageEstimator, shape: tuple[int, int], scale: float) -> None:
        groups = random_groups(shape, 2)
        scaled = Groups([[scale * reward for reward in row] for row in groups.rewards], groups.lengths, groups.ended)
        empty = Groups(groups.rewards, [[0] * shape[1] for _ in range(shape[0])], groups.ended)
        for case in (scaled, empty):
            assert np.isfinite(_numbers(estimator, case)).all()

    @pytest.mark.parametrize("seed", range(3))
    def test_the_order_of_rollouts_does_not_matter(self, estimator: AdvantageEstimator, seed: int) -> None:
        groups, order = random_groups((4, 5), seed), np.random.default_rng(seed).permutation(5)
        turned = Groups(*([[row[g] for g in order] for row in rows] for rows in vars(groups).values()))
        np.testing.assert_allclose(
            _numbers(estimator, turned), _numbers(estimator, groups)[:, order], rtol=1e-9, atol=1e-9
        )

    def test_a_group_depends_on_itself_alone(self, estimator: AdvantageEstimator) -> None:
        if not self.groups_apart:
            pytest.skip("this estimator compares groups")
        groups = random_groups((4, 5), 0)
        together = _numbers(estimator, groups)
        for p in range(4):
            alone = Groups(*(rows[p : p + 1] for rows in vars(groups).values()))
            np.testing.assert_allclose(_numbers(estimator, alone)[0], together[p], rtol=1e-12, atol=1e-15)

    @pytest.mark.parametrize("value", [0.0, 0.1, 0.8, 1.1])
    @pytest.mark.parametrize("size", [2, 3, 5, 7, 8])
    def test_equal_rewards_get_exact_zeros(self, estimator: AdvantageEstimator, value: float, size: int) -> None:
        """A rounded mean would leave a rest, which a division by a tiny deviation blows up."""
        if not self.zero_without_spread:
            pytest.skip("this estimator learns from more than rewards")
        groups = random_groups((2, size), 3)
        equal = Groups([[value] * size] * 2, groups.lengths, groups.ended)
        for dtype in (np.float32, np.float64):
            assert not estimator.advantages(np, outcomes_of(equal, Namespace(np, dtype))).any()

    def test_the_outcomes_are_left_as_they_are(self, estimator: AdvantageEstimator) -> None:
        groups = random_groups((4, 5), 4)
        outcomes, before = outcomes_of(groups), outcomes_of(groups)
        first = np.array(estimator.advantages(np, outcomes))
        for name, array in vars(before).items():
            np.testing.assert_array_equal(getattr(outcomes, name), array)
        np.testing.assert_array_equal(first, estimator.advantages(np, outcomes))


def random_groups(shape: tuple[int, int], seed: int) -> Groups:
    """Groups with rewards as tasks have them, many of them equal, and lengths and endings of any kind."""
    rng = np.random.default_rng(seed)
    rewards = np.where(rng.random(shape) < 0.6, rng.choice([0.0, 0.1, 0.8, 1.0, 1.1], shape), rng.normal(0, 2, shape))
    return Groups(rewards.tolist(), rng.integers(0, 60, shape).tolist(), (rng.random(shape) < 0.7).tolist())


def outcomes_of(groups: Groups, space: Namespace | None = None) -> Outcomes:
    """Groups as arrays of a namespace; of NumPy's, in float64, if left out."""
    space = space or Namespace(np, np.float64)
    return Outcomes(*(space.array(rows) for rows in vars(groups).values()))


def _numbers(estimator: AdvantageEstimator, groups: Groups) -> NDArray[np.float64]:
    return np.array(estimator.advantages(np, outcomes_of(groups)), dtype=np.float64)
