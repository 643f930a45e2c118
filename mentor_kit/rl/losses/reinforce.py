"""REINFORCE: log-probabilities weighed by advantages (RLOO's loss, arXiv 2402.14740).

loss_t = -A_t · log p_t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mentor_kit.rl.losses.loss import Loss, LossBatch, TokenLosses


@dataclass(frozen=True)
class Reinforce(Loss):
    """The loss `reinforce`."""

    uses_ratio: ClassVar[bool] = False

    def token_losses(self, xp: Any, batch: LossBatch) -> TokenLosses:
        return TokenLosses(-batch.advantages * batch.log_probs)
