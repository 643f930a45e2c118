"""Token groups: completions of one prompt with masks, log-probabilities and advantages, for updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TokenCompletion:
    """A completion of n tokens, which follow the group's prompt."""

    ids: Ints
    """Shape (n,): sampled tokens and, between turns, inserted ones."""
    mask: Floats
    """Shape (n,): 1 at sampled tokens, which are trained on, else 0."""
    log_probs: Floats
    """Shape (n,): log-probabilities by the sampler."""
    advantage: float | Floats = 0.0
    """One number for all tokens, or shape (n,)."""
    old_log_probs: Floats | None = None
    """Shape (n,): log-probabilities before this round of updates, recomputed; None takes the sampler's."""
    versions: Ints | None = None
    """Shape (n,): the version of the weights that sampled each token; None where no policy did."""


@dataclass(frozen=True)
class TokenGroup:
    """Completions of one prompt. The result of an update does not depend on how groups are batched."""

    prompt_ids: Ints
    """Shape (p,), p >= 1."""
    completions: tuple[TokenCompletion, ...]
    temperature: float = 1.0


def staleness(groups: Sequence[TokenGroup], version: int) -> int:
    """How many optimizer steps the weights of `version` are ahead of those that sampled the oldest trained token."""
    behind = [
        version - int(completion.versions[completion.mask > 0].min())
        for group in groups
        for completion in group.completions
        if completion.versions is not None and completion.mask.any()
    ]
    return max(behind, default=0)
