"""Our losses against the suite that every loss is held to; the twins are loops over the papers' formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mentor_kit.core.errors import PluginError
from mentor_kit.rl.advantages.group_mean import GroupMean
from mentor_kit.rl.losses.cispo import CISPO, CISPOOptions
from mentor_kit.rl.losses.gspo import GSPO, GSPOOptions
from mentor_kit.rl.losses.likelihood import Likelihood
from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses
from mentor_kit.rl.losses.ppo import PPO, PPOOptions
from mentor_kit.rl.losses.reinforce import Reinforce
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit.rl.policy_loss import policy_loss
from mentor_kit.testing.losses import LossCase, LossContract, LossTwin, Ragged, batch_of, random_case
from mentor_kit.testing.objectives import make_objective


def by_token(case: LossCase, formula) -> Ragged:
    return [[formula(i, t) for t in range(len(row))] for i, row in enumerate(case.now)]


def surrogate(ratio: float, advantage: float, low: float, high: float) -> float:
    bounded = max(1 - low, min(1 + high, ratio))
    return -min(ratio * advantage, bounded * advantage)


def ppo_twin(low: float, high: float) -> LossTwin:
    def twin(case: LossCase) -> Ragged:
        def one(i: int, t: int) -> float:
            return surrogate(math.exp(case.now[i][t] - case.old[i][t]), case.advantages[i][t], low, high)

        return by_token(case, one)

    return twin


@pytest.mark.parametrize("options", [(0.2, 0.2), (0.2, 0.28), (None, 0.1), (0.1, None), (None, None)])
class TestPPO(LossContract):
    @pytest.fixture
    def loss(self, options) -> Loss:
        low, high = options
        return PPO(PPOOptions(clip_low=low, clip_high=high))

    @pytest.fixture
    def twin(self, options) -> LossTwin:
        low, high = options
        return ppo_twin(math.inf if low is None else low, math.inf if high is None else high)


class TestDualClip(LossContract):
    """arXiv 1912.09729, equation 5: the objective is max(PPO's, c · A) where A < 0."""

    @pytest.fixture
    def loss(self) -> Loss:
        return PPO(PPOOptions(clip_low=0.2, clip_high=0.2, clip_dual=1.3))

    @pytest.fixture
    def twin(self) -> LossTwin:
        def twin(case: LossCase) -> Ragged:
            def one(i: int, t: int) -> float:
                advantage = case.advantages[i][t]
                plain = surrogate(math.exp(case.now[i][t] - case.old[i][t]), advantage, 0.2, 0.2)
                return -max(-plain, 1.3 * advantage) if advantage < 0 else plain

            return by_token(case, one)

        return twin


def test_dual_clipping_by_hand() -> None:
    """Ratios 4 and 2 with c = 3 and A = -2: 8 becomes 6, without a gradient; 4 stays, and A = 1 is PPO's alone."""
    ratio = np.log(np.array([[4.0, 2.0, 4.0]]))
    ones, zeros = np.ones((1, 3)), np.zeros((1, 3))
    batch = LossBatch(ratio, zeros, np.array([[-2.0, -2.0, 1.0]]), ones, ones)
    found = PPO(PPOOptions(clip_low=0.2, clip_high=0.2, clip_dual=3.0)).token_losses(np, batch)
    np.testing.assert_allclose(found.values, [[6.0, 4.0, -1.2]])
    assert found.clipped is not None
    assert found.clipped.tolist() == [[1.0, 0.0, 1.0]]


class TestGSPO(LossContract):
    """Each token carries the sequence's surrogate; the gradient of its ratio in a token is s / length.

    With advantages that differ along a row, the sequence's loss is the mean over its tokens, each with its own; the sum
    over tokens of the twin then has the derivative that equation 13 gives every token.
    """

    @pytest.fixture
    def loss(self) -> Loss:
        return GSPO(GSPOOptions(clip_low=0.1, clip_high=0.15))

    @pytest.fixture
    def twin(self) -> LossTwin:
        def twin(case: LossCase) -> Ragged:
            def one(i: int, t: int) -> float:
                tokens = case.tokens(i)
                if t not in tokens:
                    return 0.0
                held = sum(case.held[i][u] - case.old[i][u] for u in tokens) / len(tokens)
                s = math.exp(held + case.now[i][t] - case.held[i][t])
                return surrogate(s, case.advantages[i][t], 0.1, 0.15)

            return by_token(case, one)

        return twin


@pytest.mark.parametrize("advantage", [1.5, -0.5])
@pytest.mark.parametrize("seed", range(4))
def test_gspos_gradient_is_that_of_the_sequences_ratio(seed: int, advantage: float) -> None:
    """Equation 5 by itself: with one advantage a sequence, tokens' gradients are those of s A, differentiated whole."""
    torch = pytest.importorskip("torch")
    case = random_case(seed)
    rows = [i for i in range(len(case.now)) if case.tokens(i)]
    now = torch.tensor([case.now[rows[0]][t] for t in case.tokens(rows[0])], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([case.old[rows[0]][t] for t in case.tokens(rows[0])], dtype=torch.float64)
    s = torch.exp((now - old).mean())
    whole = -torch.minimum(s * advantage, s.clamp(0.9, 1.15) * advantage)
    (expected,) = torch.autograd.grad(whole, now)

    one = torch.ones_like(now)[None]
    leaf = now.detach()[None].clone().requires_grad_()
    batch = LossBatch(leaf, old[None], advantage * one, one, one / len(old))
    values = GSPO(GSPOOptions(clip_low=0.1, clip_high=0.15)).token_losses(torch, batch).values
    (found,) = torch.autograd.grad((values * batch.weights).sum(), leaf)
    assert values[0].tolist() == pytest.approx([float(whole.detach())] * len(old))
    assert found[0].tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize("options", [(None, 0.28), (0.2, 0.28), (None, 4.0)])
class TestCISPO(LossContract):
    @pytest.fixture
    def loss(self, options) -> Loss:
        low, high = options
        return CISPO(CISPOOptions(clip_low=low, clip_high=high))

    @pytest.fixture
    def twin(self, options) -> LossTwin:
        low, high = options

        def twin(case: LossCase) -> Ragged:
            def one(i: int, t: int) -> float:
                ratio = math.exp(case.held[i][t] - case.old[i][t])
                weight = max(-math.inf if low is None else 1 - low, min(ratio, 1 + high))
                return -weight * case.advantages[i][t] * case.now[i][t]

            return by_token(case, one)

        return twin


class TestReinforce(LossContract):
    @pytest.fixture
    def loss(self) -> Loss:
        return Reinforce()

    @pytest.fixture
    def twin(self) -> LossTwin:
        return lambda case: by_token(case, lambda i, t: -case.advantages[i][t] * case.now[i][t])


class TestLikelihood(LossContract):
    @pytest.fixture
    def loss(self) -> Loss:
        return Likelihood()

    @pytest.fixture
    def twin(self) -> LossTwin:
        return lambda case: by_token(case, lambda i, t: -case.now[i][t])


class Summed(Loss):
    """A loss that returns one number a sequence, as it must not."""

    def token_losses(self, xp, batch):
        return TokenLosses(xp.sum(batch.log_probs, axis=1))


class Measured(Loss):
    def token_losses(self, xp, batch):
        return TokenLosses(-batch.log_probs, metrics={"gate": xp.ones_like(batch.mask) * 0.5})


def test_a_loss_of_another_shape_is_the_plugins_fault() -> None:
    objective = Objective(ObjectiveSpec(kl=0.0, loss="summed"), Summed(), GroupMean())
    with pytest.raises(PluginError, match="'summed'"):
        policy_loss(np, objective, batch_of(random_case(0)))


def test_a_losss_own_metrics_have_its_prefix_and_are_sums_over_trained_tokens() -> None:
    objective, batch = (
        Objective(ObjectiveSpec(kl=0.0, loss="measured"), Measured(), GroupMean()),
        batch_of(random_case(0)),
    )
    sums = policy_loss(np, objective, batch).sums
    assert float(sums["loss_gate"]) == pytest.approx(0.5 * batch.mask.sum())
    assert float(sums["ratio"]) == pytest.approx((np.exp(batch.log_probs - batch.old) * batch.mask).sum())
    assert float(sums["clipped"]) == 0.0


def test_an_entropy_bonus_lowers_the_loss_by_the_weighted_entropy() -> None:
    objective, plain = make_objective("dapo", entropy=0.25), make_objective("dapo")
    batch = batch_of(random_case(0))
    entropy = np.abs(np.random.default_rng(0).standard_normal(batch.mask.shape)) * batch.mask
    found = policy_loss(np, objective, replace(batch, entropy=entropy))
    expected = float(policy_loss(np, plain, batch).loss) - 0.25 * float((entropy * batch.weights).sum())
    assert float(found.loss) == pytest.approx(expected, rel=1e-12)
    assert float(found.sums["entropy"]) == pytest.approx(float(entropy.sum()))


def test_an_entropy_bonus_needs_a_backend_that_computes_entropies() -> None:
    with pytest.raises(PluginError, match="entropies"):
        policy_loss(np, make_objective("dapo", entropy=0.25), batch_of(random_case(0)))
