"""PPO's clipped surrogate of each token (arXiv 1707.06347, equation 7), with a bound of its own on either side.

    r_t = p_t / p_old,t
    loss_t = -min(r_t · A_t, clip(r_t, 1 - clip_low, 1 + clip_high) · A_t)

Where A_t < 0 that has no upper bound as r_t grows. Dual clipping (arXiv 1912.09729, equation 5) is such a bound:

    loss_t = min(loss_t, -clip_dual · A_t)    where A_t < 0
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ConfigDict, Field

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel
from mentor_kit.rl.arrays import Array, clip, indicator
from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses


class PPOOptions(OptionModel, FrozenModel):
    """Bounds of the ratio."""

    model_config = ConfigDict(allow_inf_nan=False)

    clip_low: float | None = Field(default=0.2, ge=0)
    """The ratio's lower bound is 1 - clip_low; null for no bound."""
    clip_high: float | None = Field(default=0.2, ge=0)
    """The ratio's upper bound is 1 + clip_high; null for no bound. Above clip_low it is DAPO's clip-higher."""
    clip_dual: float | None = Field(default=None, gt=1)
    """The largest ratio that counts where the advantage is negative; null for no bound."""


@dataclass(frozen=True)
class PPO(Loss):
    """The loss `ppo`."""

    options: PPOOptions

    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        options = self.options
        found = clipped_surrogate(xp, xp.exp(batch.log_ratio), batch.advantages, options.clip_low, options.clip_high)
        return found if options.clip_dual is None else _clipped_dually(xp, found, batch.advantages, options.clip_dual)


def clipped_surrogate(
    xp: Any, ratio: Array, advantages: Array, clip_low: float | None, clip_high: float | None
) -> TokenLosses:
    """The minimum of the surrogate with the ratio and with the ratio within its bounds, negated."""
    bounded = clip(xp, ratio, *bounds(clip_low, clip_high))
    free, held = ratio * advantages, bounded * advantages
    return TokenLosses(-xp.minimum(free, held), ratio=ratio, clipped=indicator(xp, held < free, ratio))


def _clipped_dually(xp: Any, found: TokenLosses, advantages: Array, bound: float) -> TokenLosses:
    """The losses, no larger than `bound` times the advantage's size where the advantage is negative."""
    highest = -bound * advantages
    beyond = (advantages < 0) & (found.values > highest)
    values = xp.where(beyond, highest, found.values)
    return replace(found, values=values, clipped=xp.maximum(found.clipped, indicator(xp, beyond, values)))


def bounds(clip_low: float | None, clip_high: float | None) -> tuple[float | None, float | None]:
    """The bounds of a ratio around 1; None is no bound."""
    return None if clip_low is None else 1.0 - clip_low, None if clip_high is None else 1.0 + clip_high
