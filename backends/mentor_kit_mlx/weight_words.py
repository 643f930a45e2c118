"""The words of weights: what transformers 5 writes, in the form that mlx-lm's own `sanitize` reads.

As `config_words` for configurations: nothing but names, order of axes and stacking is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mentor_kit.backend.text_weights import inside_name, is_inside, text_weights
from mentor_kit_mlx.config_words import Config
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.params import Arrays, by_name

_EXPERT = re.compile(r"(.+\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")


def model_classes(config: Config) -> tuple[type[Any], type[Any]]:
    """mlx-lm's classes of a model and of its arguments; the model's `sanitize` also reads what transformers 5 writes.

    Raises:
        ValueError: mlx-lm has no such model.
    """
    found, arguments = mlx_lm("utils")._get_classes(config)
    restate = _RESTATED.get(config["model_type"])
    return (found, arguments) if restate is None else (_reading(found, restate), arguments)


def _reading(found: type[Any], restate: Callable[[Any, Arrays], Arrays]) -> type[Any]:
    """A class of mlx-lm's whose `sanitize` is given restated weights."""

    class Model(found):  # type: ignore[misc]
        def sanitize(self, weights: Arrays) -> Arrays:
            done: Arrays = super().sanitize(restate(self, dict(weights)))
            return done

    return Model


def _stack_experts(model: Any, weights: Arrays) -> Arrays:
    """Qwen3.5's experts, which are published stacked, and written one by one."""
    experts: dict[tuple[str, str], dict[int, mx.array]] = {}
    for name in list(weights):
        if match := _EXPERT.fullmatch(name):
            experts.setdefault((match[1], match[3]), {})[int(match[2])] = weights.pop(name)
    stacked = {key: mx.stack([found[index] for index in sorted(found)]) for key, found in experts.items()}
    for (place, part), value in stacked.items():
        if part == "gate":
            weights[f"{place}.gate_up_proj"] = mx.concatenate([value, stacked[place, "up"]], axis=1)
        elif part == "down":
            weights[f"{place}.down_proj"] = value
    return weights


def _turn_experts(model: Any, weights: Arrays) -> Arrays:
    """gpt-oss's experts as they are without quantization: transformers has their inputs first."""
    turned = {}
    for name, value in weights.items():
        if name.endswith((".experts.gate_up_proj", ".experts.down_proj")):
            turned[f"{name}.weight"] = value.swapaxes(1, 2)
        else:
            turned[name] = value
    return turned


def _put_inside(model: Any, weights: Arrays) -> Arrays:
    """Llama 4's model of text without the one that it is published inside of."""
    return {
        f"language_model.{name}" if name.startswith(("model.", "lm_head.")) else name: value
        for name, value in weights.items()
    }


def _put_deeper_inside(model: Any, weights: Arrays) -> Arrays:
    """Gemma 3n's model of text without the one that it is published inside of.

    mlx-lm has keys and values of layers that use those of another, which nothing reads, and transformers has not.
    """
    inside = weights if is_inside(weights) else {inside_name(name): value for name, value in weights.items()}
    own = {name.replace(".linear.weight", ".weight"): value for name, value in by_name(model.parameters()).items()}
    unread = {
        name: mx.zeros_like(value)
        for name, value in own.items()
        if name not in inside and re.search(r"\.self_attn\.(k_proj|v_proj|k_norm)\.weight$", name)
    }
    return inside | unread


def _leave_pictures(model: Any, weights: Arrays) -> Arrays:
    """LFM2-VL's model of text, whose own `sanitize` mlx-lm does not call; its output projection is always tied."""
    inner = {name: value for name, value in text_weights(weights).items() if not name.startswith("lm_head.")}
    return {f"language_model.{name}": value for name, value in model.language_model.sanitize(inner).items()}


def _rename_norms(model: Any, weights: Arrays) -> Arrays:
    """OLMo-Hybrid's norms of its linear layers."""
    words = {".attention_layer_norm.": ".input_layernorm.", ".feedforward_layer_norm.": ".post_attention_layernorm."}
    renamed = {}
    for name, value in weights.items():
        for theirs, own in words.items():
            name = name.replace(theirs, own)
        renamed[name] = value
    return renamed


def _drop_prefix(model: Any, weights: Arrays) -> Arrays:
    """GPT-2, which is published without the name of its decoder."""
    return {name.removeprefix("transformer."): value for name, value in weights.items()}


#: By mlx-lm's types of models.
_RESTATED: dict[str, Callable[[Any, Arrays], Arrays]] = {
    "qwen3_5_moe": _stack_experts,
    "gpt_oss": _turn_experts,
    "llama4": _put_inside,
    "gemma3n": _put_deeper_inside,
    "lfm2-vl": _leave_pictures,
    "olmo_hybrid": _rename_norms,
    "gpt2": _drop_prefix,
}
