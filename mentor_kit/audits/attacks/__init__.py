"""The catalogue of attacks on rewards, by kind; docs/rewards.md lists them with their rewards."""

from __future__ import annotations

from mentor_kit.audits.attacks import answers, broken, fakes, hedges, imitations, padding, reasoning
from mentor_kit.audits.attacks.attack import Attack

#: All of them; names are unique.
ATTACKS: tuple[Attack, ...] = (
    *reasoning.ATTACKS,
    *imitations.ATTACKS,
    *broken.ATTACKS,
    *padding.ATTACKS,
    *fakes.ATTACKS,
    *answers.ATTACKS,
    *hedges.ATTACKS,
)

__all__ = ["ATTACKS", "Attack"]
