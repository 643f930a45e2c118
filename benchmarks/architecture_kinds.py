"""The architectures of the table in docs/families.md: for each a small random model, in the form that is published.

Layers are of the published kinds, few and narrow; a sliding window is shorter than the sequences of the checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VOCABULARY, WINDOW = 100, 6
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
HEAD = {"head_dim": 8}
#: mlx-lm rounds the root of Gemma's width to 16 bits, as transformers does in a model of 16 bits: here it is 8.
ROOT = {"hidden_size": 64}
SLIDING = ["sliding_attention", "full_attention"]
LINEAR = {
    "head_dim": 8,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    # a query and a key at right angles leave nothing of an output that is divided by its root mean square: with a usual
    # 1e-6 transformers' own float32 is off by up to 2.4e-4 (Qwen3-Next, 20 sequences), and mlx-lm's by 1.6e-4
    "rms_norm_eps": 1e-2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SHARED_EXPERT = EXPERTS | {"shared_expert_intermediate_size": 16}
#: Layers that share another's keys and values, and inputs of each layer's own.
GEMMA: dict[str, Any] = HEAD | {
    "num_hidden_layers": 6,
    "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 2,
    "num_kv_shared_layers": 3,
    "sliding_window": WINDOW,
    "hidden_size_per_layer_input": 4,
    "vocab_size_per_layer_input": VOCABULARY,
    "final_logit_softcapping": 2.0,
    "pad_token_id": 0,
}
ALTUP = {
    "laurel_rank": 4,
    "altup_num_inputs": 2,
    "activation_sparsity_pattern": [0.5] + [0.0] * 5,
    "intermediate_size": [48] * 6,
}
MAMBA = {"mamba_d_state": 8, "mamba_n_heads": 4, "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_expand": 2}
MAMBA |= {"mamba_chunk_size": 8}
EYE = {"hidden_size": 16, "intermediate_size": 16}
QWEN_EYE = EYE | {"depth": 1, "num_heads": 2, "out_hidden_size": 32, "num_position_embeddings": 16}
PIXEL_EYE = EYE | {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


@dataclass(frozen=True)
class Architecture:
    """A kind of model, and how a small one is made."""

    models: str
    """The published models of the kind, for people."""
    config: str
    """The class of its configuration in transformers."""
    shape: dict[str, Any]
    calls: str | None
    """The family of their calls; empty where their template shows no tools, None where it was not at hand."""
    template: str | None = None
    """That template, by its name in the package trl or among the tests' own."""
    targets: tuple[str, ...] = ()
    """The layers of its adapter, where peft refuses some: on the output projection of Mamba's layers it has none."""
    inside: str | None = None
    """The model that takes pictures and sound in which a model of text is published, where the small one is made as
    the model of text alone."""
    pictures: bool = field(default=False)
    """Whether the small model takes pictures too."""


def _text(text: dict[str, Any], eye: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"text_config": SHAPE | text, "vision_config": eye} | more


#: By transformers' `model_type` of the published models.
ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("Llama 3, SmolLM2", "LlamaConfig", SHAPE, "llama-3", "llama3_2"),
    "qwen2": Architecture("Qwen2.5", "Qwen2Config", SHAPE | {"tie_word_embeddings": True}, "hermes", "qwen2_5"),
    "qwen3": Architecture("Qwen3", "Qwen3Config", SHAPE | HEAD | {"tie_word_embeddings": True}, "hermes", "qwen3"),
    "qwen3_moe": Architecture("Qwen3-30B-A3B", "Qwen3MoeConfig", SHAPE | HEAD | EXPERTS, "hermes", "qwen3"),
    "qwen3_next": Architecture(
        "Qwen3-Next", "Qwen3NextConfig", SHAPE | LINEAR | SHARED_EXPERT | {"decoder_sparse_step": 1}, "hermes", "qwen3"
    ),
    "qwen3_5": Architecture(
        "Qwen3.5, 3.6",
        "Qwen3_5Config",
        _text(LINEAR | {"tie_word_embeddings": True}, QWEN_EYE, tie_word_embeddings=True),
        "function-xml",
        "qwen3_5_think",
        pictures=True,
    ),
    "qwen3_5_moe": Architecture(
        "Qwen3.5-35B-A3B",
        "Qwen3_5MoeConfig",
        _text(LINEAR | SHARED_EXPERT, QWEN_EYE),
        "function-xml",
        "qwen3_6",
        pictures=True,
    ),
    "gemma2": Architecture(
        "Gemma 2",
        "Gemma2Config",
        SHAPE | HEAD | ROOT | {"sliding_window": 64, "layer_types": SLIDING, "final_logit_softcapping": 2.0},
        "",
        "gemma",
    ),
    "gemma3_text": Architecture(
        "Gemma 3 270M, 1B",
        "Gemma3TextConfig",
        SHAPE | HEAD | ROOT | {"sliding_window": WINDOW, "layer_types": SLIDING},
        "",
        "gemma3",
    ),
    "gemma3": Architecture(
        "Gemma 3 from 4B",
        "Gemma3Config",
        _text(HEAD | ROOT | {"sliding_window": WINDOW, "layer_types": SLIDING}, PIXEL_EYE, mm_tokens_per_image=4),
        "",
        "gemma3",
        pictures=True,
    ),
    "gemma3n": Architecture("Gemma 3n", "Gemma3nTextConfig", SHAPE | GEMMA | ALTUP, "", "gemma3", inside="gemma3n"),
    "gemma4": Architecture(
        "Gemma 4", "Gemma4TextConfig", SHAPE | GEMMA | {"global_head_dim": 16}, "gemma-4", "gemma4_v5", inside="gemma4"
    ),
    "lfm2": Architecture(
        "LFM2.5",
        "Lfm2Config",
        SHAPE | {"num_hidden_layers": 3, "layer_types": ["conv", "conv", "full_attention"]},
        "lfm-2",
        "lfm2_2_5",
    ),
    "lfm2_moe": Architecture(
        "LFM2-8B-A1B",
        "Lfm2MoeConfig",
        SHAPE
        | EXPERTS
        | {"num_hidden_layers": 3, "layer_types": ["conv", "conv", "full_attention"], "num_dense_layers": 1},
        "lfm-2",
        "lfm2_v2",
    ),
    "smollm3": Architecture("SmolLM3", "SmolLM3Config", SHAPE | {"no_rope_layers": [1, 0]}, "hermes", "smollm"),
    "granite": Architecture("Granite 3", "GraniteConfig", SHAPE | {"logits_scaling": 3.0}, None),
    "granitemoehybrid": Architecture(
        "Granite 4",
        "GraniteMoeHybridConfig",
        SHAPE
        | MAMBA
        | {"shared_intermediate_size": 48, "num_local_experts": 0, "position_embedding_type": "nope"}
        | {"mamba_d_head": 16, "num_hidden_layers": 3, "layer_types": ["mamba", "mamba", "attention"]},
        None,
    ),
    "falcon_h1": Architecture(
        "Falcon-H1",
        "FalconH1Config",
        SHAPE | MAMBA | {"mamba_d_ssm": 32, "mamba_d_head": 8},
        None,
        targets=("q_proj", "v_proj", "up_proj"),
    ),
    "olmo3": Architecture(
        "OLMo 3",
        "Olmo3Config",
        SHAPE
        | {"num_hidden_layers": 4, "sliding_window": WINDOW}
        | {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
        None,
    ),
    "phi3": Architecture("Phi-3, Phi-4-mini", "Phi3Config", SHAPE, "phi-4", "phi_4_mini"),
    "ministral3": Architecture(
        "Ministral 3",
        "Ministral3Config",
        SHAPE
        | HEAD
        | {
            "sliding_window": None,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 6.0,
                "original_max_position_embeddings": 8,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.5,
            },
        },
        "mistral",
        "mistral_v11",
    ),
    "mistral3": Architecture(
        "Mistral Small 3.1, 3.2",
        "Mistral3Config",
        _text({"model_type": "mistral", "sliding_window": None} | HEAD, PIXEL_EYE | {"model_type": "pixtral"}),
        "mistral",
        "mistral_v11",
        pictures=True,
    ),
    "glm4_moe": Architecture(
        "GLM-4.5, 4.6",
        "Glm4MoeConfig",
        SHAPE
        | HEAD
        | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_shared_experts": 1}
        | {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "use_qk_norm": True},
        "key-value-xml",
        "glm4moe",
    ),
    "gpt_oss": Architecture(
        "gpt-oss",
        "GptOssConfig",
        SHAPE
        | HEAD
        | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW, "layer_types": SLIDING}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        "harmony",
        "gptoss",
    ),
    "exaone4": Architecture(
        "EXAONE 4",
        "Exaone4Config",
        SHAPE
        | HEAD
        | {"num_hidden_layers": 4, "sliding_window": WINDOW, "sliding_window_pattern": 4}
        | {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
        None,
    ),
}


def write_model(name: str, folder: Path, seed: int = 0) -> Any:
    """Write a small random model of an architecture in float32, in the form that is published.

    Returns:
        transformers' model of it.
    """
    import torch
    import transformers

    kind = ARCHITECTURES[name]
    classes = transformers.AutoModelForImageTextToText if kind.pictures else transformers.AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # experts and attention by operations that run in float64 too
        config = getattr(transformers, kind.config)(**kind.shape)
        model = classes.from_config(config, attn_implementation="eager", experts_implementation="eager")
        with torch.no_grad():
            for key, value in model.named_parameters():
                if key.endswith(("A_log", "dt_bias", "dt_proj.bias")):
                    value.copy_(torch.rand_like(value) + 0.2)
                elif value.ndim == 1 and "norm" in key:
                    value.add_(0.1 * torch.randn_like(value))
                elif key.endswith("embed_tokens.weight"):
                    # that of padding is 0 in a new model, by whose magnitude mlx-lm's Gemma 3n divides
                    value[0] = value[1:].mean(0) + value[1]
                elif key.endswith("correct_output_scale"):
                    # 0 in a new Gemma 3n, which leaves the inputs of each layer's own without effect and gradient
                    value.copy_(torch.rand_like(value) + 0.5)
    model.save_pretrained(folder)
    if kind.inside is not None:
        _put_inside(folder, kind.inside)
    return model.eval()


def _put_inside(folder: Path, kind: str) -> None:
    """Give a model of text the form in which it is published, inside of one that takes pictures and sound."""
    import json

    from safetensors.torch import load_file, save_file

    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "text_config": text}))
    weights = load_file(folder / "model.safetensors")
    inside = {key.replace("model.", "model.language_model.", 1): value for key, value in weights.items()}
    # published folders have projections in layers that share another's keys and values, which nothing reads
    for key, value in list(inside.items()):
        for own, shares in ((1, 3), (1, 4), (2, 5)):
            if f".{own}.self_attn." in key and any(part in key for part in ("k_proj", "k_norm", "v_proj")):
                inside[key.replace(f".{own}.self", f".{shares}.self")] = value.clone()
    save_file(inside, folder / "model.safetensors", metadata={"format": "pt"})
