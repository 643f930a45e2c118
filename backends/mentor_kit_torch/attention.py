"""Attention masks for any transformers model: full attention, sliding windows, chunks, or several of them by layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Kinds of layers that attend: to all earlier tokens, to the latest ones, to those of the same stretch of positions.
FULL, WINDOW, CHUNK = "full_attention", "sliding_attention", "chunked_attention"
ATTENDING = frozenset({FULL, WINDOW, CHUNK, "hybrid"})
#: Kinds of layers with state as of the last token alone, and of those that take no mask.
RECURRENT = frozenset({"linear_attention", "conv", "hybrid"})
UNMASKED = frozenset({"linear_attention", "conv", "moe", "mlp"})


class Reach(NamedTuple):
    """How far the tokens of a layer look, in positions."""

    kind: str
    """`FULL`, `WINDOW` or `CHUNK`."""
    size: int = 0
    """Of windows and chunks."""

    def shows(self, looks: Any, seen: Any) -> Any:
        """Whether tokens at positions `looks` see those at `seen`, which are not behind them."""
        return seen >= self.first(looks)

    def first(self, looks: Any) -> Any:
        """The first position that tokens at positions `looks` see, or one before all."""
        if self.kind == FULL:
            return looks * 0
        return looks - self.size + 1 if self.kind == WINDOW else looks // self.size * self.size


#: Of layers that look at all earlier tokens.
EVERYTHING = Reach(FULL)


class AttentionMasks:
    """Builds the masks of a model's layers from a causal mask.

    Args:
        config: the configuration of the model's text part.
    """

    def __init__(self, config: Any) -> None:
        self._eager = config._attn_implementation == "eager"
        window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        declared = getattr(config, "layer_types", None)
        self._declared: list[str] | None = None if declared is None else list(declared)
        self._kinds = set(declared or [FULL if window is None else WINDOW])
        sizes = {WINDOW: window, CHUNK: getattr(config, "attention_chunk_size", None)}
        self._near = {k: Reach(k, size) for k, size in sizes.items() if k in self._kinds and size is not None}
        """Of layers that see no further than windows or chunks."""

    @property
    def expressible(self) -> bool:
        """Whether every layer that attends does so to plain keys and values, all of them or near ones."""
        return self._kinds <= ATTENDING | UNMASKED

    @property
    def one_for_all(self) -> bool:
        """Whether there are layers that attend, and all of them to the same tokens."""
        return not self._near and bool(self._kinds & ATTENDING)

    @property
    def full(self) -> bool:
        """Whether every layer attends to all earlier tokens."""
        return self._kinds == {"full_attention"}

    @property
    def recurs(self) -> bool:
        """Whether there may be layers whose state is as of the last token alone."""
        return bool(self._kinds & RECURRENT)

    @property
    def packs(self) -> bool:
        """Whether tokens of several sequences can stand in one, as layers tell them apart by who sees whom alone."""
        return self.expressible and not self.recurs and bool(self._kinds & ATTENDING)

    @property
    def reaches(self) -> tuple[Reach, ...]:
        """Those of the layers that attend, each once."""
        return tuple(sorted({self._near.get(kind, EVERYTHING) for kind in self._kinds & ATTENDING}))

    def reach(self, layer: int) -> Reach:
        """That of a layer, by its number."""
        kind = self._declared[layer] if self._declared else next(iter(self._kinds))
        return self._near.get(kind, EVERYTHING)

    def build(self, allowed: Tensor, queries: Tensor, keys: Tensor, dtype: torch.dtype) -> Any:
        """The mask as the model takes it, a dictionary where its layers differ, None where none of them attends.

        Args:
            allowed: (n, 1, T, L) booleans, without regard to windows.
            queries: (n, T) positions of the tokens that look.
            keys: (n or 1, L) positions of the tokens that are seen.
            dtype: of the model.
        """
        if not self._kinds & ATTENDING:
            return None
        if not self._near:
            return self._as_taken(allowed, dtype)
        looks, seen = queries.unsqueeze(-1), keys.unsqueeze(1)
        near = {
            kind: self._as_taken(allowed & reach.shows(looks, seen).unsqueeze(1), dtype)
            for kind, reach in self._near.items()
        }
        if self._declared is None:
            return near[WINDOW]
        return {FULL: self._as_taken(allowed, dtype)} | near | dict.fromkeys(self._kinds & UNMASKED)

    def _as_taken(self, allowed: Tensor, dtype: torch.dtype) -> Tensor:
        if not self._eager:
            return allowed
        mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return mask.masked_fill_(~allowed, torch.finfo(dtype).min)
