"""Masks of several rows for mlx-lm's attention that keeps query heads in groups (Gemma 2).

Its scores have a dimension for the groups that share keys. A mask (n, 1, T, S) of n rows has none, and cannot be
broadcast over it.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mentor_kit_mlx.mlx_lm_import import mlx_lm


def take_masks_of_rows(model: Any) -> None:
    """Have such attention take masks of several rows, in place; other models stay as they are."""
    if type(model).__module__ != "mlx_lm.models.gemma2":
        return
    attention: Any = mlx_lm("models.gemma2").Attention

    class Attention(attention):  # type: ignore[misc]
        def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            if isinstance(mask, mx.array) and mask.ndim == 4 and self.repeats > 1:
                mask = mask[:, :, None]
            found: mx.array = super().__call__(x, mask, cache)
            return found

    for layer in model.layers:
        layer.self_attn.__class__ = Attention
