"""What made-up worlds keep from training: fixed shares, decided by names and texts alone, whatever the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Pair = tuple[str, str]


def is_for_evaluation(text: str) -> bool:
    """Whether a text is one of the tenth of all texts that is kept from training."""
    return hashlib.blake2b(text.encode(), digest_size=2).digest()[0] < 26


def without_a_third(pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """The pairs of names to train on, in their order, and the third that is held out, sorted."""
    ranked = sorted(pairs, key=lambda pair: hashlib.blake2b("-".join(pair).encode()).digest())
    held_out = set(ranked[: len(ranked) // 3])
    return tuple(pair for pair in pairs if pair not in held_out), tuple(sorted(held_out))
