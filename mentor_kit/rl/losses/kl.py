"""Estimates of the divergence from the reference policy, token by token, from samples of the policy (Schulman, 2020).

With d = log p_reference - log p:

    k1 = -d          k2 = d² / 2          k3 = exp(d) - 1 - d
"""

from __future__ import annotations

from typing import Any, Literal

from mentor_kit.rl.arrays import Array

KLEstimator = Literal["k1", "k2", "k3"]


def kl_divergence(xp: Any, log_probs: Array, reference: Array, estimator: KLEstimator) -> Array:
    """An estimate of KL(policy || reference) at each token, shape (N, T)."""
    d = reference - log_probs
    if estimator == "k1":
        return -d
    return d * d / 2 if estimator == "k2" else xp.exp(d) - 1 - d
