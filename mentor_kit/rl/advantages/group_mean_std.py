"""The reward less the mean of its group, in standard deviations of the group (GRPO, arXiv 2402.03300).

A_i = (r_i - mean_j r_j) / (std_j r_j + 1e-6)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.advantages.statistics import STD_FLOOR, centred_in_group, sample_std
from mentor_kit.rl.arrays import Array


@dataclass(frozen=True)
class GroupMeanStd(AdvantageEstimator):
    """The estimator `group_mean_std`; a group of equal rewards, or of one, gets exact zeros."""

    def advantages(self, xp: Any, outcomes: Outcomes) -> Array:
        centred = centred_in_group(xp, outcomes.rewards)
        squares = xp.sum(centred * centred, axis=1, keepdims=True)
        return centred / (sample_std(xp, squares, centred.shape[1]) + STD_FLOOR)
