"""Truncated importance weights, which correct for what sampler and update differ by (arXiv 2508.03501).

w_t = min(p_old,t / p_sampled,t, cap)
"""

from __future__ import annotations

from typing import Any

from mentor_kit.rl.arrays import Array, clip, stop_gradient


def importance_weights(xp: Any, old: Array, sampled: Array, cap: float) -> Array:
    """The weight of each token, shape (N, T), without gradients.

    Args:
        xp: the array namespace.
        old: log-probabilities before this round of updates, by the update's own forward pass, shape (N, T).
        sampled: the sampler's, shape (N, T).
        cap: the largest weight, above 0.
    """
    return clip(xp, xp.exp(stop_gradient(xp, old) - sampled), None, cap)
