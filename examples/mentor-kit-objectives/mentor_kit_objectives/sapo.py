"""SAPO, a soft gate in place of PPO's clipping (arXiv 2511.20347).

loss_t = -f(r_t) · A_t     f(r) = 4/τ · sigmoid(τ · (r - 1))     τ by the sign of A_t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses
from pydantic import BaseModel, ConfigDict, Field


class SAPOOptions(BaseModel):
    """How fast the gate closes as the ratio leaves 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tau_positive: float = Field(default=1.0, gt=0)
    """The temperature where the advantage is above 0."""
    tau_negative: float = Field(default=1.05, gt=0)
    """The temperature where it is not; above `tau_positive`, unlikely tokens are pushed down less."""


@dataclass(frozen=True)
class SAPO(Loss):
    """The loss `sapo`; its metric `loss_gate` is the share of the gradient that passes."""

    options: SAPOOptions

    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        ratio = xp.exp(batch.log_ratio)
        ones = xp.ones_like(ratio)
        tau = xp.where(batch.advantages > 0, ones * self.options.tau_positive, ones * self.options.tau_negative)
        gate = 1 / (1 + xp.exp(-tau * (ratio - 1)))
        return TokenLosses(-4 / tau * gate * batch.advantages, ratio=ratio, metrics={"gate": 4 * gate * (1 - gate)})
