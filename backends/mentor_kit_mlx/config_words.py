"""The words of a configuration: what transformers 5 writes, in the form that mlx-lm reads.

Nothing that a folder says is changed but its form; models that take pictures too have a configuration inside for text.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

#: Models of text alone that mlx-lm has inside of models that take pictures too, and mlx-lm's names of these.
INSIDE = {
    "qwen3_5_text": "qwen3_5",
    "qwen3_5_moe_text": "qwen3_5_moe",
    "llama4_text": "llama4",
    "gemma3n_text": "gemma3n",
}
#: Types of models that mlx-lm has another name for.
_NAMES = {"lfm2_vl": "lfm2-vl"}
#: What mlx-lm requires and transformers does not write, as it is the same for all models of the type.
_FIXED: dict[str, Config] = {
    "apertus": {"mlp_bias": False, "post_norm": False, "qk_norm": True},
    "exaone4": {"rope_scaling": None},
    "glm4_moe": {"rope_scaling": None},
    "llama4_text": {"rope_scaling": None},
}
#: Words of transformers 5, and mlx-lm's for the same.
_ALIASES = {"num_local_experts": "num_experts", "num_experts": "num_local_experts", "n_positions": "n_ctx"}


def write_as_mlx_lm_reads(config: Config) -> None:
    """Add, in place, mlx-lm's words to a configuration whose defaults are filled in."""
    _put_inside(config)
    text = config.get("text_config")
    levels = [config, text] if isinstance(text, dict) else [config]
    for level in levels:
        _write_rope(level)
        _write_windows(level)
        _write_heads(level)
        _write_kinds(level)
        _write_names(level)
    if isinstance(text, dict):
        # the whole model's word on it holds for its weights
        if "tie_word_embeddings" in config:
            text["tie_word_embeddings"] = config["tie_word_embeddings"]
        if "vocab_size" in text:
            config.setdefault("vocab_size", text["vocab_size"])


def text_level(config: Config) -> Config:
    """The configuration for text: what is inside of that of a model that takes pictures too, or the whole."""
    found: Config = config.get("text_config") or config
    return found


def fixed_words(kind: str) -> Config:
    """What mlx-lm requires of a type of model, and transformers does not write."""
    return dict(_FIXED.get(kind, {}))


def _put_inside(config: Config) -> None:
    """Write a model of text as mlx-lm has it, inside of one that takes pictures too."""
    kind = config["model_type"]
    if kind in INSIDE and "text_config" not in config:
        config |= {"model_type": INSIDE[kind], "text_config": dict(config)}
    config["model_type"] = _NAMES.get(config["model_type"], config["model_type"])


def _write_names(config: Config) -> None:
    """Write what mlx-lm requires under a name of its own, or at all."""
    for theirs, own in _ALIASES.items():
        if config.get(theirs) is not None:
            config.setdefault(own, config[theirs])
    for name, value in _FIXED.get(str(config.get("model_type")), {}).items():
        config.setdefault(name, value)


def _write_rope(config: Config) -> None:
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return
    if isinstance(rope.get("full_attention"), dict):
        local = rope.get("sliding_attention") or {}
        if "rope_theta" in local:
            config["rope_local_base_freq"] = local["rope_theta"]
        rope = rope["full_attention"]
    if "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope["partial_rotary_factor"]
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        config["rope_scaling"] = {**rope, "rope_type": kind, "type": kind}


def _write_windows(config: Config) -> None:
    """Write windows as mlx-lm reads them, every n-th layer being without one; transformers lists all layers."""
    kinds = config.get("layer_types") or []
    mixed = {"full_attention", "sliding_attention"} <= set(kinds)
    every = kinds.index("full_attention") + 1 if mixed else 0
    if config.get("model_type") == "exaone4":
        config["sliding_window_pattern"] = "L" * (every - 1) + "G" if mixed else None
        config.setdefault("sliding_window", None)
    elif mixed:
        config["sliding_window_pattern"] = every


def _write_heads(config: Config) -> None:
    """Write widths of heads as mlx-lm reads them: one for all layers, and one for those without a window."""
    full = [index for index, kind in enumerate(config.get("layer_types") or []) if kind == "full_attention"]
    own = config.get("per_layer_config")
    if isinstance(own, dict) and full and isinstance(layer := own.get(str(full[0])), dict):
        for word, theirs in (("head_dim", "global_head_dim"), ("num_key_value_heads", "num_global_key_value_heads")):
            if word in layer:
                config.setdefault(theirs, layer[word])
    if config.get("model_type") == "gemma4_text" and config.get("head_dim"):
        config.setdefault("global_head_dim", config["head_dim"])
    if config.get("model_type") == "falcon_h1" and config.get("head_dim") is None:
        config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]


def _write_kinds(config: Config) -> None:
    """Write kinds and widths of layers that mlx-lm has other words for."""
    kinds = {"granitemoehybrid": {"linear_attention": "mamba", "full_attention": "attention"}}
    words = kinds.get(str(config.get("model_type")), {})
    if words and config.get("layer_types"):
        config["layer_types"] = [words.get(kind, kind) for kind in config["layer_types"]]
    if config.get("model_type") in ("lfm2", "lfm2_moe"):
        config.setdefault("block_dim", config.get("hidden_size"))
