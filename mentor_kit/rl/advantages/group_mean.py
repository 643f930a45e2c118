"""The reward less the mean of its group (Dr. GRPO, arXiv 2503.20783).

A_i = r_i - mean_j r_j
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.advantages.statistics import centred_in_group
from mentor_kit.rl.arrays import Array


@dataclass(frozen=True)
class GroupMean(AdvantageEstimator):
    """The estimator `group_mean`; a group of equal rewards, or of one, gets exact zeros."""

    def advantages(self, xp: Any, outcomes: Outcomes) -> Array:
        return centred_in_group(xp, outcomes.rewards)
