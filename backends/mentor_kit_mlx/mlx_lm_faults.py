"""Models that mlx-lm computes otherwise than transformers, or not at all: they are refused, with whose limit it is.

Seen with mlx-lm 0.32.2, beside a plain forward pass of transformers.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

#: Types of models whose windows mlx-lm places by a pattern alone.
_BY_PATTERN = ("gemma3_text", "cohere2", "exaone4")


def mlx_lm_fault(config: Config) -> str | None:
    """What mlx-lm computes otherwise for a model; None where nothing is known.

    Args:
        config: complete, in the words that mlx-lm reads.
    """
    text = config.get("text_config")
    level = text if isinstance(text, dict) else config
    kind = level.get("model_type")
    if kind == "recurrent_gemma":
        return "mlx-lm's own RecurrentGemma cannot be made: it raises AttributeError"
    if kind == "jamba" and level.get("num_experts", 1) > level.get("num_experts_per_tok", 1):
        return "mlx-lm scales the weights of Jamba's chosen experts to a sum of 1, which transformers does not"
    if kind in _BY_PATTERN and _irregular(level):
        return f"mlx-lm places the windows of {kind} by a regular pattern, which `layer_types` does not follow"
    return None


def _irregular(level: Config) -> bool:
    """Whether a list of layers is no repetition of its beginning, up to the first layer without a window."""
    kinds = level.get("layer_types") or []
    if "full_attention" not in kinds or "sliding_attention" not in kinds:
        return False
    every = kinds.index("full_attention") + 1
    return any((kind == "full_attention") != ((place + 1) % every == 0) for place, kind in enumerate(kinds))
