"""CISPO: REINFORCE weighed by a ratio that is capped and has no gradient (arXiv 2506.13585, equation 4).

r_t = p_t / p_old,t
loss_t = -sg[clip(r_t, 1 - clip_low, 1 + clip_high)] · A_t · log p_t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel
from mentor_kit.rl.arrays import clip, indicator, stop_gradient
from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses
from mentor_kit.rl.losses.ppo import bounds


class CISPOOptions(OptionModel, FrozenModel):
    """Bounds of the ratio."""

    model_config = ConfigDict(allow_inf_nan=False)

    clip_low: float | None = Field(default=None, ge=0)
    """The ratio's lower bound is 1 - clip_low; null, as in the paper, for no bound."""
    clip_high: float = Field(default=4.0, ge=0)
    """The ratio's cap is 1 + clip_high."""


@dataclass(frozen=True)
class CISPO(Loss):
    """The loss `cispo`."""

    options: CISPOOptions

    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        ratio = xp.exp(batch.log_ratio)
        bounded = clip(xp, ratio, *bounds(self.options.clip_low, self.options.clip_high))
        values = -stop_gradient(xp, bounded) * batch.advantages * batch.log_probs
        return TokenLosses(values, ratio=ratio, clipped=indicator(xp, bounded != ratio, ratio))
