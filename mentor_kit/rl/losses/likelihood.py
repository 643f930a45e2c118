"""Maximum likelihood of the tokens, whatever their advantages: the loss of SFT.

loss_t = -log p_t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses


@dataclass(frozen=True)
class Likelihood(Loss):
    """The loss `likelihood`."""

    uses_advantages: ClassVar[bool] = False
    uses_ratio: ClassVar[bool] = False

    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        return TokenLosses(-batch.log_probs)
