"""The suites for losses and advantage estimators refuse what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.advantages.group_mean import GroupMean
from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses
from mentor_kit.rl.losses.reinforce import Reinforce
from mentor_kit.testing.advantages import AdvantageContract, Groups
from mentor_kit.testing.losses import LossCase, LossContract, Ragged

LOSSES, ADVANTAGES = LossContract(), AdvantageContract()


def reinforce_twin(case: LossCase) -> Ragged:
    return [[-a * p for a, p in zip(*rows, strict=True)] for rows in zip(case.advantages, case.now, strict=True)]


class Wrong(Loss):
    def __init__(self, values: Callable[[Any, LossBatch], Any]) -> None:
        self.values = values

    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        return TokenLosses(self.values(xp, batch))


def spoiling(xp: Any, batch: LossBatch) -> Any:
    batch.advantages[:] = 1.0
    return -batch.advantages * batch.log_probs


def detached(xp: Any, batch: LossBatch) -> Any:
    log_probs = batch.log_probs.detach() if hasattr(batch.log_probs, "detach") else batch.log_probs
    return -batch.advantages * (log_probs + 0 * batch.log_probs)


@pytest.mark.parametrize(
    ("values", "check", "arguments"),
    [
        (
            lambda xp, b: b.advantages * b.log_probs,
            "test_values_are_the_twins",
            (reinforce_twin, 0),
        ),
        (
            detached,
            "test_gradients_are_finite_differences_of_the_twin",
            (reinforce_twin, "torch", 0),
        ),
        (lambda xp, b: b.log_probs - b.log_probs.mean(), "test_a_row_depends_on_itself_alone", (0,)),
        (lambda xp, b: b.log_probs / b.mask.shape[1], "test_padding_changes_nothing", ()),
        (lambda xp, b: xp.sum(b.log_probs, 1), "test_results_have_the_batchs_shape_and_type", (np.float64,)),
        (lambda xp, b: b.log_probs.astype(np.float64), "test_results_have_the_batchs_shape_and_type", (np.float32,)),
        (
            lambda xp, b: b.log_probs * xp.sum(b.advantages, 1, keepdims=True),
            "test_untrained_tokens_do_not_count",
            ("torch",),
        ),
        (lambda xp, b: -(b.advantages + 1) * b.log_probs, "test_no_advantage_gives_no_gradient", ("torch",)),
        (lambda xp, b: -b.log_probs, "test_a_loss_that_uses_no_advantages_is_the_same_whatever_they_are", ()),
        (
            lambda xp, b: b.advantages * (b.log_probs - (b.sampled * 0 if b.old is None else b.old)),
            "test_without_recomputed_log_probabilities_the_samplers_count",
            (),
        ),
        (lambda xp, b: xp.exp(100 * b.log_ratio), "test_far_from_the_sampler_all_is_finite", ("mlx.core",)),
        (spoiling, "test_the_batch_is_left_as_it_is", ()),
    ],
)
def test_a_wrong_loss_is_refused(values: Any, check: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AssertionError), np.errstate(over="ignore"):
        getattr(LOSSES, check)(Wrong(values), *arguments)


def group_mean_twin(groups: Groups) -> list[list[float]]:
    return [[reward - sum(row) / len(row) for reward in row] for row in groups.rewards]


class WrongEstimator(AdvantageEstimator):
    def __init__(self, formula: Callable[[Any, Outcomes], Any]) -> None:
        self.formula = formula

    def advantages(self, xp: Any, outcomes: Outcomes) -> Any:
        return self.formula(xp, outcomes)


def spoiling_rewards(xp: Any, outcomes: Outcomes) -> Any:
    outcomes.rewards[:] = 0.0
    return outcomes.rewards


@pytest.mark.parametrize(
    ("formula", "check", "arguments"),
    [
        (
            lambda xp, o: o.rewards,
            "test_advantages_are_the_twins",
            (group_mean_twin, (4, 5), 0),
        ),
        (
            lambda xp, o: xp.mean(o.rewards, axis=1),
            "test_results_have_the_rewards_shape_and_type",
            (
                np.float64,
                (4, 5),
            ),
        ),
        (
            lambda xp, o: o.rewards / o.lengths,
            "test_advantages_are_finite",
            (
                (4, 5),
                1.0,
            ),
        ),
        (lambda xp, o: xp.cumsum(o.rewards, axis=1), "test_the_order_of_rollouts_does_not_matter", (0,)),
        (lambda xp, o: o.rewards - o.rewards.mean(), "test_a_group_depends_on_itself_alone", ()),
        (
            lambda xp, o: (o.rewards - xp.mean(o.rewards, axis=1, keepdims=True)) / 1e-6,
            "test_equal_rewards_get_exact_zeros",
            (
                0.1,
                3,
            ),
        ),
        (spoiling_rewards, "test_the_outcomes_are_left_as_they_are", ()),
    ],
)
def test_a_wrong_estimator_is_refused(formula: Any, check: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        getattr(ADVANTAGES, check)(WrongEstimator(formula), *arguments)


def test_right_ones_are_not() -> None:
    LOSSES.test_values_are_the_twins(Reinforce(), reinforce_twin, 0)
    ADVANTAGES.test_advantages_are_the_twins(GroupMean(), group_mean_twin, (4, 5), 0)
