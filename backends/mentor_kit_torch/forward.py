"""Forward passes over rows of a cache: what they write and read there, and how their tokens attend."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mentor_kit_torch.cache import TorchRowCache, causal_mask
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.row_attention import RowAttention


@dataclass(frozen=True)
class ForwardPasses:
    """Runs the model on tokens of rows, whose common prefix may be stored once (`TorchRowCache.base`)."""

    lm: TorchLMWrapper
    beginning: TorchRowCache
    """Holds it in its first row."""
    parts: bool
    """Whether the model can attend in parts; else there is no such beginning."""

    def run(
        self, cache: TorchRowCache, ids: Tensor, where: Tensor, length: int, chosen: Tensor | None = None
    ) -> Tensor:
        """Hidden states (n, T, width).

        Args:
            cache: has room for the positions below `length`.
            ids: (n, T), of the cache's first n rows, or of those `chosen` (n,).
            where: (n, T), their positions.
            length: more than the greatest position; keys are read up to there.
            chosen: rows.
        """
        if cache.base:
            # rows that are nobody's run along at some place of theirs
            where, length = where.clamp(min=cache.base), max(length, cache.base + 1)
        cache.aim(where, length, chosen)
        keys = torch.arange(cache.base, length, device=where.device).unsqueeze(0)
        shown = causal_mask(where, keys)
        pairs = ids.numel() * length
        if not self.parts:
            mask = self.lm.mask(shown, where, keys)
            return self.lm.hidden(ids, where, mask=mask, cache=cache, pairs=pairs)
        plan = RowAttention(self.beginning, cache.base, _common_start(where, cache.base))
        read = keys_read(len(ids), length, cache.base)
        return self.lm.hidden(ids, where, mask=shown, cache=cache, plan=plan, pairs=pairs, keys=read)


def keys_read(rows: int, length: int, base: int) -> int:
    """Keys that a pass reads: each row's own, and the common beginning's once."""
    return base + rows * (length - base)


def _common_start(where: Tensor, base: int) -> int | None:
    """Where the rows' tokens, at places (n, T) that follow each other, begin behind `base`, if that is one place."""
    if where.shape[1] == 1:
        return None
    starts = where[:, 0]
    return int(starts[0]) - base if bool((starts == starts[0]).all()) else None
