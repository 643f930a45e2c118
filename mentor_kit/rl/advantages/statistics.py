"""Means and deviations of rewards that are exact where rewards are equal.

Rewards are shifted by one of them first: equal ones become exact zeros, which subtracting a rounded mean would not
give, and what is left of the rounding error would be blown up by a division by `STD_FLOOR`.
"""

from __future__ import annotations

from typing import Any

from mentor_kit.rl.arrays import Array

#: Added to a standard deviation before dividing by it, as verl does.
STD_FLOOR = 1e-6


def shifted_by_first(rewards_pg: Array) -> Array:
    """Rewards less the first of their group, shape (P, G)."""
    return rewards_pg - rewards_pg[:, :1]


def centred_in_group(xp: Any, rewards_pg: Array) -> Array:
    """Rewards less the mean of their group, shape (P, G)."""
    shifted = shifted_by_first(rewards_pg)
    return shifted - xp.mean(shifted, axis=1, keepdims=True)


def sample_std(xp: Any, squares: Array, count: int) -> Array:
    """The standard deviation with Bessel's correction, from a sum of squares of `count` centred values; 0 for one."""
    return xp.sqrt(squares / max(count - 1, 1))
