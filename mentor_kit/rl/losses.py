"""From advantages and log-probabilities to a loss, for every objective and every backend.

Pure functions over an array namespace (`xp` is numpy, torch or mlx.core). Shapes: N sequences, T positions;
rows are padded at the end and `mask` is 1 at trained tokens only. All arrays are floating point and finite;
log-probabilities are 0 where the mask is.

The loss of any batch is Σ weight · per-token loss, with weights from `token_weights` that already hold the
normalisation over everything the update was given; so micro-batches simply add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor_kit.rl.objective import KLEstimator, Objective

Array = Any  # numpy.ndarray, torch.Tensor or mlx.core.array

MISMATCH_MAX = "mismatch_max"
#: The metrics of an update that are maxima over its tokens; the others are means.
MAXIMA = frozenset({MISMATCH_MAX})


@dataclass(frozen=True)
class LossBatch:
    """What a loss is computed from; every array has shape (N, T)."""

    log_probs: Array
    """Of the trained tokens under the current weights, at the sampling temperature; carries gradients."""
    sampled: Array
    """The sampler's log-probabilities."""
    advantages: Array
    mask: Array
    weights: Array
    """From `token_weights`."""
    old: Array | None = None
    """Log-probabilities before this round of updates, recomputed; None takes the sampler's."""
    reference: Array | None = None
    """The reference policy's log-probabilities; needed when the objective's `kl` is above 0."""


@dataclass(frozen=True)
class LossTerms:
    """A loss with what to watch; sums run over trained tokens and are scalars of the namespace."""

    loss: Array
    sums: dict[str, Array]
    """kl, clipped, entropy (a sample estimate: -log p), mismatch (|log p - sampled log p|), ratio."""
    maxima: dict[str, Array]


def combined(found: Sequence[LossTerms], tokens: int) -> dict[str, float]:
    """The metrics of all micro-batches of an update: means over its trained `tokens`, and maxima."""
    if not found:
        return {}
    means = {name: sum(float(terms.sums[name]) for terms in found) / max(tokens, 1) for name in found[0].sums}
    return means | {name: max(float(terms.maxima[name]) for terms in found) for name in found[0].maxima}


def policy_loss(xp: Any, objective: Objective, batch: LossBatch) -> LossTerms:
    """The scalar loss to minimise, and its metrics.

    Raises:
        ValueError: the objective has a KL term, and the batch no reference.
    """
    if objective.needs_reference and batch.reference is None:
        raise ValueError(f"kl={objective.kl} needs the reference policy's log-probabilities, and the batch has none")
    old = batch.sampled if batch.old is None else batch.old
    log_ratio = (batch.log_probs - old) * batch.mask
    if objective.ratio == "sequence":
        log_ratio = _sequence_level(xp, log_ratio, batch.log_probs, batch.mask)
    ratio = xp.exp(log_ratio)
    advantages = batch.advantages
    kl = None
    if batch.reference is not None:
        kl = kl_divergence(xp, batch.log_probs, batch.reference, objective.kl_estimator) * batch.mask
        if objective.kl_in == "advantage":
            advantages = advantages - objective.kl * _from_here_on(xp, _stop(xp, kl))
    per_token, clipped = _surrogate(xp, objective, ratio, batch.log_probs, advantages)
    if objective.importance_cap is not None:
        per_token = per_token * _importance(xp, old, batch.sampled, objective.importance_cap)
    if kl is not None and objective.kl_in == "loss":
        per_token = per_token + objective.kl * kl
    loss = xp.sum(per_token * batch.weights)
    return LossTerms(loss, *_metrics(xp, batch, ratio, clipped, kl))


def kl_divergence(xp: Any, log_probs: Array, reference: Array, estimator: KLEstimator) -> Array:
    """Per-token estimates of KL(policy || reference) from samples of the policy (Schulman, 2020).

    With d = log p_reference - log p:  k1 = -d,  k2 = d² / 2,  k3 = exp(d) - 1 - d.
    """
    d = reference - log_probs
    if estimator == "k1":
        return -d
    return d * d / 2 if estimator == "k2" else xp.exp(d) - 1 - d


def token_weights(objective: Objective, masks: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The weight of every token of every sequence of an update, from the sequences' masks.

    Sequences without a trained token weigh nothing and do not count as sequences. The weights sum to 1 for
    `token` and `sequence` aggregation.
    """
    lengths = [float(mask.sum()) for mask in masks]
    sequences = sum(length > 0 for length in lengths)
    tokens = sum(lengths)

    def divisor(length: float) -> float:
        if objective.aggregation == "token":
            return tokens
        per_sequence = length if objective.aggregation == "sequence" else float(objective.constant_length or 1)
        return sequences * per_sequence

    return [
        (mask / divisor(length)).astype(np.float32) if length else np.zeros_like(mask, dtype=np.float32)
        for mask, length in zip(masks, lengths, strict=True)
    ]


def _surrogate(xp: Any, objective: Objective, ratio: Array, log_probs: Array, advantages: Array) -> tuple[Array, Array]:
    """The per-token loss, and 1.0 where clipping took the gradient away."""
    bounded = _bounded(xp, ratio, objective.clip_low, objective.clip_high)
    if objective.surrogate == "likelihood":
        return -log_probs, xp.zeros_like(ratio)
    if objective.surrogate == "reinforce":
        return -advantages * log_probs, xp.zeros_like(ratio)
    if objective.surrogate == "capped":
        return -_stop(xp, bounded) * advantages * log_probs, _as_float(xp, bounded != ratio, ratio)
    free, held = ratio * advantages, bounded * advantages
    return -xp.minimum(free, held), _as_float(xp, held < free, ratio)


def _bounded(xp: Any, ratio: Array, low: float | None, high: float | None) -> Array:
    if low is not None:
        ratio = xp.maximum(ratio, xp.ones_like(ratio) * (1.0 - low))
    if high is not None:
        ratio = xp.minimum(ratio, xp.ones_like(ratio) * (1.0 + high))
    return ratio


def _sequence_level(xp: Any, log_ratio: Array, log_probs: Array, mask: Array) -> Array:
    """GSPO's ratio with token-level gradients: sg[s] · p / sg[p] has the value s at every token.

    (arXiv 2507.18071, equations 7 and 13; the mean of the tokens' gradients is the sequence's.)
    """
    count = xp.maximum(xp.sum(mask, axis=1, keepdims=True), xp.ones_like(mask[:, :1]))
    mean = xp.sum(log_ratio, axis=1, keepdims=True) / count
    return _stop(xp, mean) + (log_probs - _stop(xp, log_probs)) * mask


def _importance(xp: Any, old: Array, sampled: Array, cap: float) -> Array:
    weight = xp.exp(_stop(xp, old) - sampled)
    return xp.minimum(weight, xp.ones_like(weight) * cap)


def _from_here_on(xp: Any, values: Array) -> Array:
    """The sum of this and all later positions of each row."""
    return xp.sum(values, axis=1, keepdims=True) - xp.cumsum(values, axis=1) + values


def _metrics(
    xp: Any, batch: LossBatch, ratio: Array, clipped: Array, kl: Array | None
) -> tuple[dict[str, Array], dict[str, Array]]:
    log_probs, mask = _stop(xp, batch.log_probs), batch.mask
    gap = xp.abs(log_probs - batch.sampled) * mask
    sums = {
        "entropy": xp.sum(-log_probs * mask),
        "mismatch": xp.sum(gap),
        "clipped": xp.sum(clipped * mask),
        "ratio": xp.sum(_stop(xp, ratio) * mask),
    }
    if kl is not None:
        sums["kl"] = xp.sum(_stop(xp, kl))
    return sums, {MISMATCH_MAX: xp.max(gap)}


def _stop(xp: Any, array: Array) -> Array:
    """The array as a constant of the gradient."""
    if hasattr(array, "detach"):
        return array.detach()
    return xp.stop_gradient(array) if hasattr(xp, "stop_gradient") else array


def _as_float(xp: Any, condition: Array, like: Array) -> Array:
    return xp.where(condition, xp.ones_like(like), xp.zeros_like(like))
