"""The form of a loaded model's weights in transformers."""

from __future__ import annotations

import json
from pathlib import Path

from mentor_kit_mlx.config_words import Config
from mentor_kit_mlx.loading import Loaded
from mentor_kit_mlx.plain_weights import plain_weights
from mentor_kit_mlx.transformers_config import transformers_kind
from mentor_kit_mlx.transformers_form import TransformersForm, transformers_form

#: Types of models whose weights have the same names in mlx-lm and in transformers; tests cover them.
SAME_NAMES = frozenset(("llama", "qwen2", "qwen3", "phi3", "smollm3", "olmo2", "granite", "cohere"))
#: Keys of config.json that say how weights are quantized.
QUANTIZATION_KEYS = ("quantization", "quantization_config")


def kind_of(loaded: Loaded) -> str:
    """The type of the model of text, as transformers calls it."""
    return transformers_kind(loaded.config, own_config(loaded.folder))


def form_of(loaded: Loaded) -> TransformersForm | None:
    """The form of the model's plain weights in transformers; None where it is not known."""
    # their shapes alone are looked at, so no array of a merged model is computed
    shapes = {name: tuple(value.shape) for name, value in plain_weights(loaded.model).items()}
    return transformers_form(loaded.model, kind_of(loaded), loaded.folder, shapes)


def own_config(folder: Path) -> Config:
    """The configuration in a folder, without what is said of the form of its weights."""
    config: Config = json.loads((folder / "config.json").read_text())
    for name in (*QUANTIZATION_KEYS, "torch_dtype"):
        config.pop(name, None)
    return config
