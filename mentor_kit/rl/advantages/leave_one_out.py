"""The reward less the mean of the others in its group (RLOO, arXiv 2402.14740).

A_i = r_i - mean_{j != i} r_j
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.advantages.statistics import shifted_by_first
from mentor_kit.rl.arrays import Array


@dataclass(frozen=True)
class LeaveOneOut(AdvantageEstimator):
    """The estimator `leave_one_out`; equal rewards get exact zeros, and a group of one its own reward."""

    def advantages(self, xp: Any, outcomes: Outcomes) -> Array:
        others = outcomes.rewards.shape[1] - 1
        if others == 0:
            return outcomes.rewards
        shifted = shifted_by_first(outcomes.rewards)
        total = xp.sum(shifted, axis=1, keepdims=True)
        return shifted - (total - shifted) / others
