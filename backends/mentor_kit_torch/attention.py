"""Attention masks for any transformers model: full attention, sliding windows, chunks, or several of them by layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: Kinds of layers that attend: to all earlier tokens, to the latest ones, to those of the same stretch of positions.
FULL, WINDOW, CHUNK = "full_attention", "sliding_attention", "chunked_attention"
ATTENDING = frozenset({FULL, WINDOW, CHUNK, "hybrid"})
#: Kinds of layers with state as of the last token alone, and of those that take no mask.
RECURRENT = frozenset({"linear_attention", "conv", "hybrid"})
UNMASKED = frozenset({"linear_attention", "conv", "moe", "mlp"})


class AttentionMasks:
    """Builds the masks of a model's layers from a causal mask.

    Args:
        config: the configuration of the model's text part.
    """

    def __init__(self, config: Any) -> None:
        self._eager = config._attn_implementation == "eager"
        window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        declared = getattr(config, "layer_types", None)
        self._by_kind = declared is not None
        self._kinds = set(declared or [FULL if window is None else WINDOW])
        sizes = {WINDOW: window, CHUNK: getattr(config, "attention_chunk_size", None)}
        self._sizes: dict[str, int] = {k: size for k, size in sizes.items() if k in self._kinds and size is not None}
        """Of the windows and chunks of layers that see no further."""

    @property
    def expressible(self) -> bool:
        """Whether every layer that attends does so to plain keys and values, all of them or near ones."""
        return self._kinds <= ATTENDING | UNMASKED

    @property
    def one_for_all(self) -> bool:
        """Whether there are layers that attend, and all of them to the same tokens."""
        return not self._sizes and bool(self._kinds & ATTENDING)

    @property
    def full(self) -> bool:
        """Whether every layer attends to all earlier tokens."""
        return self._kinds == {"full_attention"}

    @property
    def recurs(self) -> bool:
        """Whether there may be layers whose state is as of the last token alone."""
        return bool(self._kinds & RECURRENT)

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
        if not self._sizes:
            return self._as_taken(allowed, dtype)
        near = {kind: self._as_taken(allowed & self._near(kind, queries, keys), dtype) for kind in self._sizes}
        if not self._by_kind:
            return near[WINDOW]
        return {FULL: self._as_taken(allowed, dtype)} | near | dict.fromkeys(self._kinds & UNMASKED)

    def _near(self, kind: str, queries: Tensor, keys: Tensor) -> Tensor:
        """(n, 1, T, L) booleans: the keys that are near enough for a kind of layers."""
        looks, seen, size = queries.unsqueeze(-1), keys.unsqueeze(1), self._sizes[kind]
        return (looks - seen < size if kind == WINDOW else looks // size == seen // size).unsqueeze(1)

    def _as_taken(self, allowed: Tensor, dtype: torch.dtype) -> Tensor:
        if not self._eager:
            return allowed
        mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return mask.masked_fill_(~allowed, torch.finfo(dtype).min)
