"""The contract of an advantage estimator: the outcomes of groups of rollouts in, one number a rollout out.

Estimators are pure functions over an array namespace (`xp` is numpy, torch or mlx.core). Shapes: P problems, G rollouts
of each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from mentor_kit.rl.arrays import Array


@dataclass(frozen=True)
class Outcomes:
    """How a step's rollouts came out; arrays of one floating point type, each of shape (P, G)."""

    rewards: Array
    """The reward of each rollout."""
    lengths: Array
    """How many tokens of each the policy sampled, >= 0."""
    ended: Array
    """1 where the rollout ended by itself, 0 where it ran out of turns or tokens."""


class AdvantageEstimator(ABC):
    """Base class for advantage estimators, built by an advantages plugin from its options."""

    @abstractmethod
    def advantages(self, xp: Any, outcomes: Outcomes) -> Array:
        """The advantage of each rollout, shape (P, G), finite.

        The advantages of a group's rollouts do not depend on their order.

        Args:
            xp: the array namespace of the outcomes.
            outcomes: of all rollouts that the step learns from.
        """
