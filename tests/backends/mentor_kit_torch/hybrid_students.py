"""Tiny random students whose layers keep other state than one of keys and values each, and students inside others.

Their shapes are those of the published models, with few and narrow layers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch_students import SHAPE

WINDOW = 6  # shorter than the sequences of the tests
SLIDING = ["sliding_attention", "sliding_attention", "full_attention"] * 2
LINEAR = {
    "head_dim": 8,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    # a query and a key at right angles leave nothing of the first tokens' output, which is divided by its root mean
    # square: with a usual 1e-6 float32's rounding shows, and no difference is small enough for a derivative
    "rms_norm_eps": 1e-2,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "decoder_sparse_step": 1,
}
#: Per-layer inputs, and layers that share another's keys and values.
GEMMA: dict[str, Any] = {
    "num_hidden_layers": 6,
    "head_dim": 8,
    "layer_types": SLIDING,
    "num_kv_shared_layers": 3,
    "sliding_window": WINDOW,
    "hidden_size_per_layer_input": 4,
    "vocab_size_per_layer_input": 100,
    "final_logit_softcapping": 2.0,
}
ALTUP: dict[str, Any] = {
    "laurel_rank": 4,
    "altup_num_inputs": 2,
    "activation_sparsity_pattern": [0.5] + [0.0] * 5,
    "intermediate_size": [48] * 6,
    # mlx-lm divides by the length of a token's embedding, which is 0 for one of padding
    "pad_token_id": None,
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_expand": 2}
MAMBA |= {"mamba_chunk_size": 8}
GRANITE = {
    "shared_intermediate_size": 48,
    "num_local_experts": 0,
    "position_embedding_type": "nope",
    "mamba_d_head": 16,
}
EYE = {"hidden_size": 16, "intermediate_size": 16}
QWEN_EYE = EYE | {"depth": 1, "num_heads": 2, "out_hidden_size": 32, "num_position_embeddings": 16}
PIXEL_EYE = EYE | {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}

Kind = tuple[str, dict[str, Any]]

#: Models with recurrent or convolutional layers.
RECURRENT: dict[str, Kind] = {
    "lfm2": ("Lfm2Config", SHAPE | {"num_hidden_layers": 3, "layer_types": ["conv", "conv", "full_attention"]}),
    "qwen3-next": ("Qwen3NextConfig", SHAPE | LINEAR | EXPERTS),
    "qwen3.5": (
        "Qwen3_5Config",
        # the weights of others are so large that a step of the contract of updates overshoots
        {"text_config": SHAPE | LINEAR | {"tie_word_embeddings": True, "initializer_range": 0.1}}
        | {"vision_config": QWEN_EYE}
        | {"tie_word_embeddings": True},
    ),
    "granite4": (
        "GraniteMoeHybridConfig",
        SHAPE | MAMBA | GRANITE | {"num_hidden_layers": 3, "layer_types": ["mamba", "mamba", "attention"]},
    ),
    "falcon-h1": ("FalconH1Config", SHAPE | MAMBA | {"mamba_d_ssm": 32, "mamba_d_head": 8}),
    "mamba": ("MambaConfig", SHAPE | {"state_size": 4}),
}
#: Models of which some layers share another's keys and values.
SHARING: dict[str, Kind] = {
    "gemma4": ("Gemma4TextConfig", SHAPE | GEMMA | {"global_head_dim": 16}),
    "gemma4-inside": ("Gemma4TextConfig", SHAPE | GEMMA | {"global_head_dim": 16, "pad_token_id": 0}),
    "gemma3n": ("Gemma3nTextConfig", SHAPE | GEMMA | ALTUP),
}
#: Students that are written inside of models that take pictures and sound, and the names of these.
INSIDE = {"gemma4-inside": "gemma4", "gemma3n": "gemma3n"}
#: Models of text inside of models that take pictures too.
WRAPPED: dict[str, Kind] = {
    "gemma3": (
        "Gemma3Config",
        {"text_config": SHAPE | {"head_dim": 8, "sliding_window": WINDOW, "layer_types": SLIDING[1:3]}}
        | {"vision_config": PIXEL_EYE, "mm_tokens_per_image": 4},
    ),
    "mistral3": (
        "Mistral3Config",
        {"text_config": {"model_type": "mistral", "head_dim": 8, "sliding_window": None} | SHAPE}
        | {"vision_config": PIXEL_EYE | {"model_type": "pixtral"}},
    ),
}
KINDS = RECURRENT | SHARING | WRAPPED
#: Recurrent models that mlx-lm does not load as transformers writes them.
TORCH_ALONE: dict[str, Kind] = {
    "mamba2": (
        "Mamba2Config",
        SHAPE | {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "expand": 2, "chunk_size": 8},
    ),
}


class Twin:
    """The student's logits by transformers alone, a whole sequence at a time, in float64 if it can be."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.model = model.to(dtype).eval()

    def __call__(self, ids: Any) -> Any:
        with torch.no_grad():
            found = self.model(input_ids=torch.tensor([list(map(int, ids))]), use_cache=False).logits[0]
        return found.double().numpy()


def write(name: str, folder: Path, made: Kind | None = None) -> Twin:
    """Write a student to a folder, one of those above or of a kind that is given; its twin."""
    kind, shape = made or (KINDS | TORCH_ALONE)[name]
    auto = transformers.AutoModelForImageTextToText if "vision_config" in shape else transformers.AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = auto.from_config(getattr(transformers, kind)(**shape), attn_implementation="eager")
        with torch.no_grad():
            for key, value in model.named_parameters():
                if key.endswith(("A_log", "dt_bias", "dt_proj.bias")):
                    value.copy_(torch.rand_like(value) + 0.2)
                elif value.ndim == 1 and "norm" in key:
                    value.add_(0.1 * torch.randn_like(value))
                elif name == "gemma3n" and key.endswith("embed_tokens.weight"):
                    # that of padding is 0 in a new model, by whose magnitude mlx-lm divides
                    value[0] = value[1:].mean(0) + value[1]
                elif key.endswith("correct_output_scale"):
                    # 0 in a new model, which leaves the inputs of each layer's own without effect and gradient
                    value.copy_(torch.rand_like(value) + 0.5)
                if name == "qwen3.5" and key.endswith("language_model.norm.weight"):
                    # so that distributions are far from uniform
                    value.add_(0.5)
    model.save_pretrained(folder)
    if name in INSIDE:
        _wrap(folder, INSIDE[name])
    # experts and recurrences are not run in float64
    return Twin(model, torch.float32 if name in RECURRENT | TORCH_ALONE else torch.float64)


def _wrap(folder: Path, kind: str) -> None:
    """Put a model of text into the form in which it is published, inside of one that takes pictures and sound."""
    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "text_config": text}))
    weights = load_file(folder / "model.safetensors")
    inside = {key.replace("model.", "model.language_model.", 1): value for key, value in weights.items()}
    # published folders have projections in layers that share another's keys, which nothing reads
    for key, value in list(inside.items()):
        for own, shares in ((1, 3), (1, 4), (2, 5)):
            if f".{own}.self_attn." in key and ("k_" in key or "v_proj" in key):
                inside[key.replace(f".{own}.self", f".{shares}.self")] = torch.randn_like(value)
    inside["model.vision_tower.patch.weight"] = torch.ones(2, 2)
    save_file(inside, folder / "model.safetensors", metadata={"format": "pt"})


def own_name(name: str) -> str:
    """A parameter's name without the models that its own is inside of: transformers and mlx-lm order them otherwise."""
    return name.replace("language_model.", "").removeprefix("model.").removeprefix("model.")


def as_mlx_lm_has_it(name: str, value: Any) -> Any:
    """A parameter or gradient of transformers in mlx-lm's form: kernels of convolutions have their inputs last."""
    return value.swapaxes(1, 2) if "conv" in name and value.ndim == 3 else value
