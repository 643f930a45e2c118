"""Configurations of the laptop recipes' students, so that a dry run without the hub can say what they need.

As their authors publish them (config.json of the hub ids), cut down to what decides sizes. Those of `mlx-community` are
the same models with 4 bits for each weight that mlx-lm quantizes, in groups of 64.
"""

from __future__ import annotations

from typing import Any

_QWEN3: dict[str, Any] = {
    "model_type": "qwen3",
    "head_dim": 128,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_hidden_layers": 28,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}


def _qwen3_5(hidden: int, intermediate: int) -> dict[str, Any]:
    """The text model of the two small ones: three layers of linear attention, then a full one, six times."""
    return {
        "model_type": "qwen3_5",
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
        "text_config": {
            "model_type": "qwen3_5_text",
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": 24,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "full_attention_interval": 4,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 16,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_conv_kernel_dim": 4,
            "vocab_size": 248320,
            "max_position_embeddings": 262144,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000000.0, "partial_rotary_factor": 0.25},
            "tie_word_embeddings": True,
            "dtype": "bfloat16",
        },
    }


_LFM2_5: dict[str, Any] = {
    "model_type": "lfm2",
    "hidden_size": 2048,
    "block_dim": 2048,
    # the layers' own width is two thirds of it, 8,192
    "block_ff_dim": 12288,
    "block_auto_adjust_ff_dim": True,
    "block_ffn_dim_multiplier": 1.0,
    "block_multiple_of": 256,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
    "conv_L_cache": 3,
    "conv_bias": False,
    "vocab_size": 65536,
    "max_position_embeddings": 128000,
    "norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}

_GEMMA4_E2B: dict[str, Any] = {
    "model_type": "gemma4",
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
    "text_config": {
        "model_type": "gemma4_text",
        "hidden_size": 1536,
        "hidden_size_per_layer_input": 256,
        "intermediate_size": 6144,
        # of the layers that use the keys and values of earlier ones
        "use_double_wide_mlp": True,
        "num_kv_shared_layers": 20,
        "num_hidden_layers": 35,
        "layer_types": [*(["sliding_attention"] * 4), "full_attention"] * 7,
        "sliding_window": 512,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "global_head_dim": 512,
        "attention_k_eq_v": False,
        "vocab_size": 262144,
        "vocab_size_per_layer_input": 262144,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    },
}

_SMOLLM3: dict[str, Any] = {
    "model_type": "smollm3",
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "no_rope_layer_interval": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 128256,
    "max_position_embeddings": 65536,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5000000.0,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}

_SMOLLM2: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}

_PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen3-0.6B": _QWEN3 | {"hidden_size": 1024, "intermediate_size": 3072},
    "Qwen/Qwen3-1.7B": _QWEN3 | {"hidden_size": 2048, "intermediate_size": 6144},
    "Qwen/Qwen3.5-0.8B": _qwen3_5(1024, 3584),
    "Qwen/Qwen3.5-2B": _qwen3_5(2048, 6144),
    "LiquidAI/LFM2.5-1.2B-Instruct": _LFM2_5,
    "google/gemma-4-E2B-it": _GEMMA4_E2B,
    "HuggingFaceTB/SmolLM3-3B": _SMOLLM3,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2,
}
_FOUR_BITS: dict[str, str] = {
    "mlx-community/Qwen3-1.7B-4bit": "Qwen/Qwen3-1.7B",
    "mlx-community/Qwen3.5-2B-4bit": "Qwen/Qwen3.5-2B",
    "mlx-community/LFM2.5-1.2B-Instruct-4bit": "LiquidAI/LFM2.5-1.2B-Instruct",
    "mlx-community/gemma-4-e2b-it-4bit": "google/gemma-4-E2B-it",
    "mlx-community/SmolLM3-3B-4bit": "HuggingFaceTB/SmolLM3-3B",
}

#: Configurations by hub id.
KNOWN: dict[str, dict[str, Any]] = _PUBLISHED | {
    name: _PUBLISHED[original] | {"quantization": {"group_size": 64, "bits": 4}}
    for name, original in _FOUR_BITS.items()
}
