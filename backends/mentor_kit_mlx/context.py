"""The longest context of a model."""

from __future__ import annotations

from typing import Any

from mentor_kit_mlx.cache import own_caches
from mentor_kit_mlx.config import Config
from mentor_kit_mlx.config_words import text_level
from mentor_kit_mlx.options import MLXOptions


def longest_context(model: Any, config: Config, options: MLXOptions) -> int:
    """In tokens: the model's own or the options' limit; one window where mlx-lm has no windows for the model."""
    text = text_level(config)
    own = int(text.get("max_position_embeddings") or text.get("n_positions") or 1 << 20)
    window = text.get("sliding_window") if text.get("use_sliding_window", True) else None
    if window and not any(type(cache).__name__ == "RotatingKVCache" for cache in own_caches(model)):
        own = min(own, int(window))  # mlx-lm is exact within one window of this model
    return min(own, options.max_context or own)
