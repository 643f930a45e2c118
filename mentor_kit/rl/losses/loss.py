"""The contract of a loss: a batch of log-probabilities and advantages in, a loss for each token out.

Losses are pure functions over an array namespace (`xp` is numpy, torch or mlx.core), so that one file works on every
backend. Shapes: N sequences, T positions; rows are padded at the end, and the mask is 1 at trained tokens only. All
arrays are floating point and finite; log-probabilities are 0 where the mask is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mentor_kit.rl.arrays import Array


@dataclass(frozen=True)
class LossBatch:
    """The rows of a micro-batch; every array has shape (N, T)."""

    log_probs: Array
    """Of the trained tokens under the current weights, at the sampling temperature; carries gradients."""
    sampled: Array
    """The sampler's log-probabilities."""
    advantages: Array
    """One number a token; equal along a row unless the objective distils or has its KL term in the advantage."""
    mask: Array
    """1 at trained tokens, else 0."""
    weights: Array
    """Of each token in the update's mean (`mentor_kit.rl.losses.aggregation`); equal at the trained tokens of a row."""
    old: Array | None = None
    """Log-probabilities before this round of updates, recomputed; None takes the sampler's."""
    reference: Array | None = None
    """The reference policy's log-probabilities; None where the objective has no KL term."""
    entropy: Array | None = None
    """The entropy, in nats, of the distribution that each trained token was chosen from, under the current weights and
    at the sampling temperature, with gradients; 0 where the mask is. None where the objective has no entropy bonus."""

    @property
    def before(self) -> Array:
        """Log-probabilities before this round of updates: `old`, or the sampler's."""
        return self.sampled if self.old is None else self.old

    @property
    def log_ratio(self) -> Array:
        """Log p - log p_old of each token, with gradients; 0 where the mask is."""
        return (self.log_probs - self.before) * self.mask


@dataclass(frozen=True)
class TokenLosses:
    """A loss's result; every array has shape (N, T)."""

    values: Array
    """The loss of each token; the update minimises Σ weight · value, and weights are 0 where the mask is."""
    ratio: Array | None = None
    """The importance ratio that the loss works with, for the metric `ratio`; None for that of each token."""
    clipped: Array | None = None
    """1.0 where clipping took the gradient away, for the metric `clipped`; None for a loss that does not clip."""
    metrics: Mapping[str, Array] = field(default_factory=dict)
    """The loss's own metrics, recorded as `loss_<name>`: their means over the trained tokens."""


class Loss(ABC):
    """Base class for losses, built by a losses plugin from its options."""

    uses_advantages: ClassVar[bool] = True
    """Whether it learns from advantages; a loss that does not can neither distil nor correct for importance."""
    uses_ratio: ClassVar[bool] = True
    """Whether it weighs tokens by their ratio to the weights that sampled them (`LossBatch.log_ratio`)."""

    @abstractmethod
    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        """The loss of each token.

        A row's result depends on that row alone, so that it is the same in whatever micro-batch the row is. At
        positions where the mask is 0, it is finite and the gradient is 0.

        Args:
            xp: the array namespace of the batch.
            batch: the rows; `batch.advantages` has the KL term where the objective wants it there.
        """
