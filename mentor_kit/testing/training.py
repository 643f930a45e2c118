"""The contract of a backend's updates: gradients and twenty steps of training; subclass these in its tests.

class TestMyGradients(GradientContract):
@pytest.fixture
def policy_factory(self): ...     # token_budget -> a fresh policy, in float32, always of the same weights

class TestMyTrajectories(TrajectoryContract):      # of a policy that trains the whole model
@pytest.fixture
def policy_factory(self): ...
@pytest.fixture
def trainer(self): ...            # a `Trainer`: the same training in float64, by other code
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.rl.objective import PRESETS, Objective
from mentor_kit.testing.material import GENTLE, PolicyFactory, changed, flat, ragged_groups
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.precision import Precision, Unrounded

Floats64 = NDArray[np.float64]
#: Groups, objective, optimizer and a learning rate for each step; all log-probabilities after the last, in a row.
Trainer = Callable[[Sequence[TokenGroup], Objective, OptimizerSpec, Sequence[float]], Floats64]

#: So large an epsilon makes AdamW's first steps plain descent: weights move by -rate / epsilon times the gradient.
EPSILON = 1e8
DESCENT = OptimizerSpec(eps=EPSILON, clip=None)
#: How far weights are moved along the gradient.
REACH = 1e-3


class GradientContract(Precision):
    """Gradients of every objective against closed forms in NumPy and finite differences of log-probabilities.

    A step along the gradient g changes the loss by -|step| · |g|, and the loss changes by the sum of dL/dlogp times
    the change of each log-probability; dL/dlogp is written out here. In 16 bits these are read without rounding.
    """

    @pytest.mark.parametrize(
        ("preset", "by_token"),
        [*((name, False) for name in sorted(PRESETS)), ("gspo", True), ("cispo", True), ("sod", True)],
    )
    def test_gradients_are_those_of_finite_differences(
        self, policy_factory: PolicyFactory, unrounded: Unrounded, preset: str, by_token: bool
    ) -> None:
        objective = make_objective(preset=preset)
        if objective.spec.needs_reference:
            objective = make_objective(preset=preset, kl=0.3)
        forward, backward = _away_from_its_reference(policy_factory), _away_from_its_reference(policy_factory)
        groups = _near(forward, ragged_groups(forward.info.vocabulary, temperature=0.8))
        if by_token:
            groups = _with_token_advantages(groups)
        slopes = _slopes(unrounded(forward), groups, objective)
        forward.forward_backward(groups, objective)
        norm = forward.optimizer_step(0.0).gradient_norm
        for policy, sign in ((forward, 1), (backward, -1)):
            policy.forward_backward(groups, objective)
            policy.optimizer_step(sign * EPSILON * REACH / norm)
        here, there = (flat(unrounded(policy).log_probs(groups)).astype(np.float64) for policy in (forward, backward))
        assert float(slopes @ (here - there)) == pytest.approx(-2 * REACH * norm, rel=self.gradient_rounding)

    def test_an_entropy_bonus_is_that_of_whole_distributions(
        self, policy_factory: PolicyFactory, unrounded: Unrounded
    ) -> None:
        """Without an advantage the bonus alone is left; entropies come from the log-probabilities of every token."""
        objective = make_objective(preset="dapo", entropy=0.5)
        forward, backward = policy_factory(None), policy_factory(None)
        groups = [changed(ragged_groups(forward.info.vocabulary, temperature=0.8)[1], advantage=lambda c: 0.0)]
        forward.prepare(DESCENT)
        backward.prepare(DESCENT)
        entropy = _entropies(unrounded(forward), groups)
        found = forward.forward_backward(groups, objective)
        assert found.loss == pytest.approx(-0.5 * entropy, rel=self.gradient_rounding / 30)
        assert found.values["entropy"] == pytest.approx(entropy, rel=self.gradient_rounding / 30)
        norm = forward.optimizer_step(0.0).gradient_norm
        for policy, sign in ((forward, 1), (backward, -1)):
            policy.forward_backward(groups, objective)
            policy.optimizer_step(sign * EPSILON * REACH / norm)
        change = _entropies(unrounded(forward), groups) - _entropies(unrounded(backward), groups)
        assert 0.5 * change == pytest.approx(2 * REACH * norm, rel=3 * self.gradient_rounding)


class TrajectoryContract(Precision):
    """Twenty steps with a schedule against the same training in float64."""

    @pytest.mark.parametrize("use", ["adamw", "muon"])
    def test_twenty_steps_are_those_of_the_twin(
        self, policy_factory: PolicyFactory, unrounded: Unrounded, trainer: Trainer, use: Literal["adamw", "muon"]
    ) -> None:
        spec, objective = OptimizerSpec(use=use, eps=1e-5, weight_decay=0.01), make_objective(preset="rloo")
        rates = [3e-4 * min((step + 1) / 5, (25 - step) / 20) for step in range(20)]
        policy = policy_factory(None)
        groups = _near(policy, ragged_groups(policy.info.vocabulary), scale=0.05)
        before = flat(unrounded(policy).log_probs(groups))
        policy.prepare(spec)
        for rate in rates:
            policy.forward_backward(groups, objective)
            policy.optimizer_step(rate)
        moved = flat(unrounded(policy).log_probs(groups)) - before
        expected = trainer(groups, objective, spec, rates) - before
        # Muon may orthogonalise in bfloat16
        tolerance = self.trajectory_rounding if use == "adamw" else max(5e-2, self.trajectory_rounding)
        assert np.linalg.norm(moved - expected) <= tolerance * np.linalg.norm(expected)


def _away_from_its_reference(policy_factory: PolicyFactory) -> Policy:
    """A policy that learned a little after its reference was taken; always the same."""
    policy = policy_factory(None)
    policy.prepare(GENTLE)
    policy.snapshot_reference()
    policy.forward_backward(ragged_groups(policy.info.vocabulary, seed=1), make_objective(preset="sft"))
    policy.optimizer_step(1.0)
    policy.prepare(DESCENT)
    return policy


def _near(policy: Policy, groups: Sequence[TokenGroup], scale: float = 0.3) -> list[TokenGroup]:
    """The groups as if sampled by slightly other weights, so that some ratios are clipped and some not."""
    rng = np.random.default_rng(0)

    def moved(completion: TokenCompletion, row: NDArray[np.float32]) -> TokenCompletion:
        noise = (scale * rng.standard_normal(len(row)) * completion.mask).astype(np.float32)
        return TokenCompletion(completion.ids, completion.mask, row + noise, completion.advantage)

    return [
        TokenGroup(
            group.prompt_ids,
            tuple(moved(completion, row) for completion, row in zip(group.completions, rows, strict=True)),
            group.temperature,
        )
        for group, rows in zip(groups, policy.log_probs(groups), strict=True)
    ]


def _entropies(policy: Policy, groups: Sequence[TokenGroup]) -> float:
    """The mean over the groups' trained tokens of the entropy of the distribution that each was chosen from."""
    vocabulary = policy.info.vocabulary
    every = tuple(
        TokenCompletion(np.array([token]), np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.float32), 0.0)
        for token in range(vocabulary)
    )
    found = []
    for group in groups:
        for completion in group.completions:
            for place in np.flatnonzero(completion.mask):
                before = np.concatenate([group.prompt_ids, completion.ids[:place]])
                (rows,) = policy.log_probs([TokenGroup(before, every, group.temperature)])
                log_probs = np.concatenate(rows).astype(np.float64)
                assert np.exp(log_probs).sum() == pytest.approx(1.0, abs=1e-4)
                found.append(-(np.exp(log_probs) * log_probs).sum())
    return float(np.mean(found))


def _with_token_advantages(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """The groups with another advantage at every token, as distillation gives them."""
    rng = np.random.default_rng(2)
    return [changed(group, advantage=lambda c: rng.standard_normal(len(c.mask)).astype(np.float32)) for group in groups]


def _slopes(policy: Policy, groups: Sequence[TokenGroup], objective: Objective) -> Floats64:
    """The derivative of the loss in every token's log-probability, all in a row."""
    completions = [completion for group in groups for completion in group.completions]
    now = [row for rows in policy.log_probs(groups) for row in rows]
    reference = now
    if objective.spec.needs_reference:
        reference = [row for rows in policy.log_probs(groups, weights="reference") for row in rows]
    weights = objective.token_weights([completion.mask for completion in completions])
    return np.concatenate(
        [
            _row_slopes(objective, *(np.asarray(array, dtype=np.float64) for array in arrays)) * weight
            for *arrays, weight in zip(
                now,
                reference,
                [completion.log_probs for completion in completions],
                [completion.advantage * completion.mask for completion in completions],
                [completion.mask for completion in completions],
                weights,
                strict=True,
            )
        ]
    )


def _row_slopes(
    objective: Objective, now: Floats64, reference: Floats64, old: Floats64, advantage: Floats64, mask: Floats64
) -> Floats64:
    """As `_slopes`, for one completion, before its tokens are weighted."""
    spec, loss = objective.spec, objective.spec.loss
    ratio = np.exp(now - old)
    if loss.use == "gspo" and mask.any():
        ratio = np.exp(((now - old) * mask).sum() / mask.sum()) * np.ones_like(now)
    gap = reference - now
    if spec.kl and spec.kl_in == "advantage":
        value = {"k1": -gap, "k2": gap**2 / 2, "k3": np.exp(gap) - 1 - gap}[spec.kl_estimator] * mask
        advantage = advantage - spec.kl * np.cumsum(value[::-1])[::-1]
    low, high = loss.options.get("clip_low"), loss.options.get("clip_high")
    low, high = -np.inf if low is None else 1 - low, np.inf if high is None else 1 + high
    # the minimum takes the gradient away where the ratio is already beyond its bound on the side it is pushed to
    clipped = -ratio * advantage * np.where(advantage > 0, ratio <= high, ratio >= low)
    slopes = {
        "likelihood": -np.ones_like(now),
        "reinforce": -advantage,
        "cispo": -np.clip(ratio, low, high) * advantage,
        "ppo": clipped,
        "gspo": clipped,
    }[loss.use]
    if spec.kl and spec.kl_in == "loss":
        slopes = slopes + spec.kl * {"k1": np.ones_like(gap), "k2": -gap, "k3": 1 - np.exp(gap)}[spec.kl_estimator]
    return slopes
