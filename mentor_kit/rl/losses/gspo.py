"""GSPO: PPO's clipped surrogate with one ratio a sequence (arXiv 2507.18071, equations 5, 7 and 13).

    s = exp(mean over the sequence's tokens of log(p_t / p_old,t))
    loss_t = -min(s · A_t, clip(s, 1 - clip_low, 1 + clip_high) · A_t)

The ratio is written sg[s] · p_t / sg[p_t], where sg stops the gradient: it has the value s at every token, and the mean
of the tokens' gradients is the sequence's. So advantages may differ from token to token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field

from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.core.option_model import OptionModel
from mentor_kit.rl.arrays import masked_mean, stop_gradient
from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses
from mentor_kit.rl.losses.ppo import clipped_surrogate


class GSPOOptions(OptionModel, FrozenModel):
    """Bounds of the sequence's ratio, which lies much closer to 1 than those of tokens."""

    model_config = ConfigDict(allow_inf_nan=False)

    clip_low: float | None = Field(default=3e-4, ge=0)
    """The ratio's lower bound is 1 - clip_low; null for no bound."""
    clip_high: float | None = Field(default=4e-4, ge=0)
    """The ratio's upper bound is 1 + clip_high; null for no bound."""


@dataclass(frozen=True)
class GSPO(Loss):
    """The loss `gspo`."""

    options: GSPOOptions

    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        mean = masked_mean(xp, batch.log_ratio, batch.mask)
        of_tokens = (batch.log_probs - stop_gradient(xp, batch.log_probs)) * batch.mask
        ratio = xp.exp(stop_gradient(xp, mean) + of_tokens)
        return clipped_surrogate(xp, ratio, batch.advantages, self.options.clip_low, self.options.clip_high)
