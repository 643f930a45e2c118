"""The configuration of a student in a folder for transformers."""

from __future__ import annotations

from typing import Any

from mentor_kit.backend.text_weights import type_alone
from mentor_kit.utils.quiet_imports import import_transformers
from mentor_kit_mlx.config_words import Config, fixed_words, text_level

#: Settings that are also written in mlx-lm's form (`mentor_kit_mlx.config`), and of them those of rotations.
_MLX_SETTINGS = (
    "rope_theta",
    "rope_scaling",
    "rope_local_base_freq",
    "partial_rotary_factor",
    "sliding_window_pattern",
    "tie_word_embeddings",
    "block_dim",
    "num_experts",
    "global_head_dim",
    "num_global_key_value_heads",
)
_ROPE = frozenset(("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor"))
#: Types of models that transformers reads settings of rotations of, beside those of each kind of layer.
_OLD_ROPE = ("gemma3_text", "olmo3")
#: What a model of text takes over from the one that it is inside of, where it does not say it itself.
_INHERITED = ("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version")


def transformers_kind(config: Config, own: Config) -> str:
    """The type of the model of text, as transformers calls it.

    Args:
        config: the model's, complete.
        own: from the folder's config.json.
    """
    text = own.get("text_config")
    if not isinstance(text, dict):
        return str(own["model_type"])
    return type_alone(str(text.get("model_type") or _default_kind(own) or config["text_config"].get("model_type")))


def transformers_config(config: Config, own: Config, *, tied: bool) -> Config:
    """The configuration of the model of text, for transformers and for mlx-lm where it has a name for that model.

    Args:
        config: the model's, complete.
        own: from the folder's config.json.
        tied: whether a model of text that is inside of another has its embeddings as output projection too.
    """
    level = text_level(config)
    kind = transformers_kind(config, own)
    text: Any = own.get("text_config")
    inside = isinstance(text, dict)
    said: Config = {name: own[name] for name in _INHERITED if name in own} | text if inside else own
    for_mlx = fixed_words(kind) | {name: level[name] for name in _MLX_SETTINGS if level.get(name) is not None}
    found: Config = for_mlx | said
    if isinstance(pattern := for_mlx.get("sliding_window_pattern"), str):
        found["sliding_window_pattern"] = pattern
    rope = said.get("rope_parameters") or {}
    if any(isinstance(value, dict) for value in rope.values()) and kind not in _OLD_ROPE:
        found = {name: value for name, value in found.items() if name not in _ROPE}
    if not inside:
        return found
    if rope:
        found["rope_parameters"] = {name: value for name, value in rope.items() if not name.startswith("mrope")}
    names = _causal_lm_names()
    architectures = {"architectures": [names[kind]]} if kind in names else {}
    return found | architectures | {"model_type": kind, "tie_word_embeddings": tied}


def is_loaded_whole(own: Config) -> bool:
    """Whether transformers loads a model of text together with the one that it is inside of.

    Args:
        own: from the folder's config.json.
    """
    return "text_config" in own and not _causal_lm_names().get(own["model_type"], "").endswith("ForCausalLM")


def _default_kind(own: Config) -> str | None:
    """The type of text model that transformers puts into a model of this type."""
    try:
        inside: Any = import_transformers().AutoConfig.for_model(own["model_type"]).get_text_config()
    except Exception:  # noqa: BLE001 (every type of model checks its configuration in its own way)
        return None
    return str(inside.model_type)


def _causal_lm_names() -> dict[str, str]:
    """The names of transformers' classes of language models, by type of model."""
    import_transformers()
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return {kind: name for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if isinstance(name, str)}
