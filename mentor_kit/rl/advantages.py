"""From rewards to advantages: one number a trajectory, by the estimator an objective names.

Pure functions over an array namespace (`xp` is numpy, torch or mlx.core). Shapes: P problems, G rollouts each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mentor_kit.rl.objective import AdvantageEstimator

Array = Any  # numpy.ndarray, torch.Tensor or mlx.core.array

#: Added to a standard deviation before dividing by it, as verl does.
STD_FLOOR = 1e-6


def advantages(xp: Any, rewards_pg: Array, estimator: AdvantageEstimator) -> Array:
    """Advantages, shape (P, G), of rewards, shape (P, G).

    A group without spread gets exact zeros from the group's estimators. A group of one gets its own
    reward from `leave_one_out` (there are no others), and zero from the group means.
    """
    return _ESTIMATORS[estimator](xp, rewards_pg)


def _group_mean(xp: Any, rewards_pg: Array) -> Array:
    shifted = _shifted(rewards_pg)
    return shifted - xp.mean(shifted, axis=1, keepdims=True)


def _group_mean_std(xp: Any, rewards_pg: Array) -> Array:
    centred = _group_mean(xp, rewards_pg)
    return centred / (_sample_std(xp, centred, axis=1, count=rewards_pg.shape[1]) + STD_FLOOR)


def _leave_one_out(xp: Any, rewards_pg: Array) -> Array:
    others = rewards_pg.shape[1] - 1
    if others == 0:
        return rewards_pg
    shifted = _shifted(rewards_pg)
    total = xp.sum(shifted, axis=1, keepdims=True)
    return shifted - (total - shifted) / others


def _shifted(rewards_pg: Array) -> Array:
    """Rewards less their group's first: equal ones become exact zeros, which subtracting a rounded mean would not give.

    What is left of the rounding error would be blown up by a division by `STD_FLOOR`.
    """
    return rewards_pg - rewards_pg[:, :1]


def _batch_mean_std(xp: Any, rewards_pg: Array) -> Array:
    shifted = rewards_pg - rewards_pg[:1, :1]
    centred = shifted - xp.mean(shifted)
    count = rewards_pg.shape[0] * rewards_pg.shape[1]
    return centred / (_sample_std(xp, centred, axis=None, count=count) + STD_FLOOR)


def _sample_std(xp: Any, centred: Array, axis: int | None, count: int) -> Array:
    """Standard deviation with Bessel's correction, from centred values; 0 for a single value."""
    squares = xp.sum(centred * centred, axis=1, keepdims=True) if axis == 1 else xp.sum(centred * centred)
    return xp.sqrt(squares / max(count - 1, 1))


_ESTIMATORS: dict[str, Callable[[Any, Array], Array]] = {
    "group_mean": _group_mean,
    "group_mean_std": _group_mean_std,
    "leave_one_out": _leave_one_out,
    "batch_mean_std": _batch_mean_std,
}
