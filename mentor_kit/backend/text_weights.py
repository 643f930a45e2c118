"""The model of text inside of one that takes pictures or sound too: its type, and the names of its weights.

Such models hold the one of text as `language_model`, at one of several places; alone it has the names of any decoder:

    model.language_model.layers.0…  language_model.model.layers.0…   →   model.layers.0…
    language_model.lm_head…                                          →   lm_head…
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

_Weight = TypeVar("_Weight")

#: Beginnings of the names inside, and of those alone.
_PLACES = (
    ("model.language_model.lm_head.", "lm_head."),
    ("model.language_model.", "model."),
    ("language_model.model.", "model."),
    ("language_model.backbone.", "backbone."),
    ("language_model.lm_head.", "lm_head."),
)


#: Types of models of text that transformers has no language model of, and types that compute the same of text: those of
#: Qwen-VL turn positions by time, height and width, which are equal within a text.
_SAME_OF_TEXT = {
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl": "qwen3",
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
}


def type_alone(kind: str) -> str:
    """The type that transformers has for a model of text alone, by its type inside of another."""
    return _SAME_OF_TEXT.get(kind, kind)


def text_name(name: str) -> str:
    """The name alone of a weight, or a layer, of the model of text; a name that is not inside stays as it is."""
    for inside, alone in _PLACES:
        if f"{name}.".startswith(inside):
            return f"{alone}{name.removeprefix(inside)}" if name.startswith(inside) else alone.removesuffix(".")
    return name


def inside_name(name: str) -> str:
    """The name inside of transformers' models that take pictures too, of a layer or weight of a model of text alone."""
    return name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name


def is_inside(names: Iterable[str]) -> bool:
    """Whether names are those of a model with one of text inside."""
    return any(text_name(name) != name for name in names)


def text_weights(weights: Mapping[str, _Weight]) -> dict[str, _Weight]:
    """The weights of the model of text, by their names alone; others of a model that it is inside of are left out.

    Args:
        weights: by name, of a model of text or of one that has such a model inside.
    """
    if not is_inside(weights):
        return dict(weights)
    return {
        text_name(name): value
        for name, value in weights.items()
        if text_name(name) != name or name.startswith("lm_head.")
    }
