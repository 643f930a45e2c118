"""Configurations of the laptop recipes' students, so that a dry run without the hub can say what they need.

As their authors publish them (config.json of the hub ids), cut down to what decides sizes.
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

KNOWN: dict[str, dict[str, Any]] = {
    "Qwen/Qwen3-0.6B": _QWEN3 | {"hidden_size": 1024, "intermediate_size": 3072},
    "Qwen/Qwen3-1.7B": _QWEN3 | {"hidden_size": 2048, "intermediate_size": 6144},
    "HuggingFaceTB/SmolLM2-135M-Instruct": {
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
    },
}
