"""OPO's baseline, the mean of the group's rewards weighed by length (arXiv 2505.23585).

A_i = r_i - Σ_j l_j · r_j / Σ_j l_j
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.arrays import Array


@dataclass(frozen=True)
class OptimalBaseline(AdvantageEstimator):
    """The estimator `optimal_baseline`; a rollout without a token weighs as much as one of one token."""

    def advantages(self, xp: Any, outcomes: Outcomes) -> Array:
        shifted = outcomes.rewards - outcomes.rewards[:, :1]  # so equal rewards get exact zeros
        lengths = xp.maximum(outcomes.lengths, xp.ones_like(outcomes.lengths))
        baseline = xp.sum(lengths * shifted, axis=1, keepdims=True) / xp.sum(lengths, axis=1, keepdims=True)
        return shifted - baseline
