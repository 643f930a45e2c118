"""The reward less the mean of the whole step, in standard deviations of the step (REINFORCE++, arXiv 2501.03262).

A_i = (r_i - mean r) / (std r + 1e-6)       over all P · G rollouts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mentor_kit.rl.advantages.estimator import AdvantageEstimator, Outcomes
from mentor_kit.rl.advantages.statistics import STD_FLOOR, sample_std
from mentor_kit.rl.arrays import Array


@dataclass(frozen=True)
class BatchMeanStd(AdvantageEstimator):
    """The estimator `batch_mean_std`; a step of equal rewards gets exact zeros."""

    def advantages(self, xp: Any, outcomes: Outcomes) -> Array:
        shifted = outcomes.rewards - outcomes.rewards[:1, :1]
        centred = shifted - xp.mean(shifted)
        count = centred.shape[0] * centred.shape[1]
        return centred / (sample_std(xp, xp.sum(centred * centred), count) + STD_FLOOR)
