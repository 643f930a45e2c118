"""The metrics of updates; means are over the trained tokens."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.rl.policy_loss import MAXIMA


class LossMetrics(FrozenModel):
    """Metrics of one `forward_backward`; means are over the trained tokens."""

    loss: float
    """The weighted sum over all trained tokens."""
    tokens: int
    """Trained tokens."""
    sequences: int
    """Completions with a trained token."""
    values: dict[str, float] = {}
    """Means (kl, clipped, entropy, mismatch, ratio, and a loss's own as loss_<name>) and maxima (mismatch_max)."""


class StepMetrics(FrozenModel):
    """Metrics of one `optimizer_step`."""

    gradient_norm: float
    """Before clipping."""
    clipped: bool
    learning_rate: float
    version: int
    """The weights' version after the step."""


def over_updates(losses: Sequence[LossMetrics]) -> LossMetrics:
    """The metrics of several updates as one: the mean loss, means over all their trained tokens, and maxima.

    An update without a trained token has no metrics and does not count in the means.
    """
    trained = [loss for loss in losses if loss.tokens]
    tokens = sum(loss.tokens for loss in trained)
    names = dict.fromkeys(name for loss in trained for name in loss.values)

    def value(name: str) -> float:
        having = [loss for loss in trained if name in loss.values]
        if name in MAXIMA:
            return max(loss.values[name] for loss in having)
        return sum(loss.values[name] * loss.tokens for loss in having) / sum(loss.tokens for loss in having)

    return LossMetrics(
        loss=sum(loss.loss for loss in trained) / max(len(trained), 1),
        tokens=tokens,
        sequences=sum(loss.sequences for loss in trained),
        values={name: value(name) for name in names},
    )
