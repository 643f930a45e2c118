"""Tiny random students whose weights or types mlx-lm calls otherwise, beside those of `hybrid_students`."""

from __future__ import annotations

from pathlib import Path

from hybrid_students import EXPERTS, EYE, KINDS, LINEAR, PIXEL_EYE, QWEN_EYE, Kind, Twin, write
from torch_students import SHAPE

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
LFM2 = {"num_hidden_layers": 3, "layer_types": ["conv", "conv", "full_attention"]}
PLAIN_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
LLAMA4 = {
    "num_hidden_layers": 4,
    "intermediate_size_mlp": 48,
    "head_dim": 8,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2,
}

#: Experts, stacked or one by one.
WITH_EXPERTS: dict[str, Kind] = {
    "qwen3-moe": ("Qwen3MoeConfig", SHAPE | MOE | {"head_dim": 8, "decoder_sparse_step": 1}),
    "qwen3.5-moe": ("Qwen3_5MoeConfig", {"text_config": SHAPE | LINEAR | EXPERTS, "vision_config": QWEN_EYE}),
    "mixtral": ("MixtralConfig", SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "olmoe": ("OlmoeConfig", SHAPE | {"num_experts": 4, "num_experts_per_tok": 2}),
    "granite-moe": ("GraniteMoeConfig", SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "glm4-moe": ("Glm4MoeConfig", SHAPE | ROUTED | {"head_dim": 8}),
    "lfm2-moe": ("Lfm2MoeConfig", SHAPE | MOE | LFM2 | {"num_dense_layers": 1}),
    "gemma4-moe": (
        "Gemma4TextConfig",
        SHAPE
        | {"head_dim": 8, "global_head_dim": 16, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2}
        | {"moe_intermediate_size": 16, "hidden_size_per_layer_input": 0},
    ),
    # mlx-lm rounds the bounds of YaRN's frequencies, which these models do not
    "gpt-oss": (
        "GptOssConfig",
        SHAPE
        | PLAIN_ROPE
        | {
            "num_hidden_layers": 4,
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 6,
        },
    ),
    "llama4": (
        "Llama4Config",
        {"text_config": SHAPE | LLAMA4 | PLAIN_ROPE}
        | {
            "vision_config": EYE
            | {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
            | {"vision_output_dim": 32, "projector_input_dim": 32, "projector_output_dim": 32}
        },
    ),
}
#: Models of text alone or inside, that mlx-lm does not know by the type that transformers writes.
RENAMED: dict[str, Kind] = {
    "qwen3.5-text": ("Qwen3_5TextConfig", SHAPE | LINEAR | {"tie_word_embeddings": True}),
    "qwen3.5-moe-text": ("Qwen3_5MoeTextConfig", SHAPE | LINEAR | EXPERTS),
    "llama4-text": ("Llama4TextConfig", SHAPE | LLAMA4),
    "lfm2-vl": (
        "Lfm2VlConfig",
        {"text_config": {"model_type": "lfm2"} | SHAPE | LFM2}
        | {
            "vision_config": EYE
            | {"model_type": "siglip2_vision_model", "num_hidden_layers": 1, "num_attention_heads": 2}
            | {"patch_size": 4, "num_patches": 16}
        },
    ),
    "qwen3-vl": (
        "Qwen3VLConfig",
        {
            "text_config": SHAPE
            | {"head_dim": 8}
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
        }
        | {"vision_config": QWEN_EYE | {"deepstack_visual_indexes": [0]}},
    ),
    "ministral3-inside": (
        "Mistral3Config",
        {"text_config": {"model_type": "ministral3", "head_dim": 8} | SHAPE}
        | {"vision_config": PIXEL_EYE | {"model_type": "pixtral"}},
    ),
}
#: Models that need a word of their own in mlx-lm.
WORDED: dict[str, Kind] = {
    "exaone4": ("Exaone4Config", SHAPE | {"head_dim": 8, "sliding_window": 6, "num_hidden_layers": 4}),
    "apertus": ("ApertusConfig", SHAPE),
    # mlx-lm weighs a choice of experts otherwise, which is refused
    "jamba": (
        "JambaConfig",
        SHAPE
        | {"num_hidden_layers": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1}
        | {"num_experts_per_tok": 1, "mamba_d_state": 4, "mamba_dt_rank": 2},
    ),
    "nemotron-h": (
        "NemotronHConfig",
        SHAPE
        | {"num_hidden_layers": 3, "layers_block_type": ["mamba", "attention", "mlp"], "mamba_num_heads": 4}
        | {"mamba_head_dim": 8, "n_groups": 1, "ssm_state_size": 8, "head_dim": 8},
    ),
}
OTHERS = WITH_EXPERTS | RENAMED | WORDED
ALL = KINDS | OTHERS


def write_any(name: str, folder: Path) -> Twin:
    """Write a student of `ALL` to a folder; its twin."""
    return write(name, folder, ALL[name])
