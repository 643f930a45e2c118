"""The loss of a micro-batch: what any loss is put into, for every objective and every backend.

    loss = Σ_t weight_t · (importance_t · loss_t(advantages) + kl · k_t - entropy · H_t)

`loss_t` is the objective's loss, weights hold the mean over everything the update was given, so that micro-batches
simply add up, k_t is the divergence from the reference, which may stand in the advantages instead, and H_t is the
entropy of the whole distribution that token t was chosen from.

Pure functions over an array namespace (`xp` is numpy, torch or mlx.core). Shapes: N sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mentor_kit.core.errors import PluginError
from mentor_kit.rl.arrays import Array, stop_gradient, sum_from_here
from mentor_kit.rl.losses.importance import importance_weights
from mentor_kit.rl.losses.kl import kl_divergence
from mentor_kit.rl.losses.loss import LossBatch, TokenLosses
from mentor_kit.rl.objective import Objective

MISMATCH_MAX = "mismatch_max"
#: The metrics of an update that are maxima over its tokens; the others are means.
MAXIMA = frozenset({MISMATCH_MAX, "staleness_max"})


@dataclass(frozen=True)
class LossTerms:
    """A loss with its metrics; sums run over trained tokens and are scalars of the namespace."""

    loss: Array
    sums: dict[str, Array]
    """entropy (exact if the objective has an entropy bonus, else a sample estimate: -log p), mismatch
    (|log p - sampled log p|), clipped, ratio, kl, loss_<name>."""
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
        PluginError: the objective's loss returned arrays of another shape, or the objective has an entropy bonus and
            the batch no entropies.
    """
    spec = objective.spec
    if spec.needs_entropy and batch.entropy is None:
        raise PluginError(
            "this backend computes no entropies, which the objective's `entropy` needs",
            hint="leave `objective.entropy` out, or take another backend",
        )
    if spec.needs_reference and batch.reference is None:
        raise ValueError(f"kl={spec.kl} needs the reference policy's log-probabilities, and the batch has none")
    kl = None
    if batch.reference is not None:
        kl = kl_divergence(xp, batch.log_probs, batch.reference, spec.kl_estimator) * batch.mask
        if spec.kl_in == "advantage":
            penalty = spec.kl * sum_from_here(xp, stop_gradient(xp, kl))
            batch = replace(batch, advantages=batch.advantages - penalty)
    found = objective.loss.token_losses(xp, batch)
    _check_shapes(objective, found, batch)
    per_token = found.values
    if spec.importance_cap is not None:
        per_token = per_token * importance_weights(xp, batch.before, batch.sampled, spec.importance_cap)
    if kl is not None and spec.kl_in == "loss":
        per_token = per_token + spec.kl * kl
    if batch.entropy is not None:
        per_token = per_token - spec.entropy * batch.entropy
    loss = xp.sum(per_token * batch.weights)
    return LossTerms(loss, *_metrics(xp, batch, found, kl))


def _check_shapes(objective: Objective, found: TokenLosses, batch: LossBatch) -> None:
    expected = tuple(batch.mask.shape)
    arrays = {"values": found.values, "ratio": found.ratio, "clipped": found.clipped, **found.metrics}
    for name, array in arrays.items():
        if array is not None and tuple(array.shape) != expected:
            raise PluginError(
                f"loss {objective.spec.loss.use!r} returned {name!r} of shape {tuple(array.shape)} "
                f"for a batch of shape {expected}",
                hint="a loss returns one number a token; `mentor_kit.testing.losses.LossContract` checks it",
            )


def _metrics(
    xp: Any, batch: LossBatch, found: TokenLosses, kl: Array | None
) -> tuple[dict[str, Array], dict[str, Array]]:
    log_probs, mask = stop_gradient(xp, batch.log_probs), batch.mask
    gap = xp.abs(log_probs - batch.sampled) * mask
    ratio = xp.exp(batch.log_ratio) if found.ratio is None else found.ratio
    clipped = xp.zeros_like(mask) if found.clipped is None else found.clipped
    entropy = -log_probs if batch.entropy is None else stop_gradient(xp, batch.entropy)
    sums = {
        "entropy": xp.sum(entropy * mask),
        "mismatch": xp.sum(gap),
        "clipped": xp.sum(clipped * mask),
        "ratio": xp.sum(stop_gradient(xp, ratio) * mask),
    }
    if kl is not None:
        sums["kl"] = xp.sum(stop_gradient(xp, kl))
    own = {f"loss_{name}": xp.sum(stop_gradient(xp, values) * mask) for name, values in found.metrics.items()}
    return sums | own, {MISMATCH_MAX: xp.max(gap)}
