"""Export: a student as a folder of transformers or mlx-lm, or an adapter for either."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from mentor_kit.core.errors import BackendError
from mentor_kit_mlx import adapter_files, adapters, params
from mentor_kit_mlx.adapter_files import AdapterFile
from mentor_kit_mlx.config import Config
from mentor_kit_mlx.embeddings import PROJECTION, as_untied, is_tied
from mentor_kit_mlx.loading import Loaded, quantize
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.options import QUANTIZED_FORMATS
from mentor_kit_mlx.params import Arrays, by_name, read, trained
from mentor_kit_mlx.transformers_config import transformers_config, transformers_kind
from mentor_kit_mlx.transformers_form import TransformersForm, left_out, transformers_form
from mentor_kit_mlx.transformers_names import Shapes

#: Types of models whose weights have the same names in mlx-lm and in transformers; tests cover them.
SAME_NAMES = frozenset(("llama", "qwen2", "qwen3", "phi3", "smollm3", "olmo2", "granite", "cohere"))

#: Keys of config.json that say how weights are quantized.
QUANTIZATION_KEYS = ("quantization", "quantization_config")


def write(loaded: Loaded, adapter: AdapterFile | None, folder: Path, format: str, *, base: str) -> None:
    """Write a student.

    Args:
        loaded: the model, with its adapter on it.
        adapter: that adapter.
        folder: to write.
        format: one of `EXPORT_FORMATS`; those of adapters only where there is one.
        base: the model that an adapter is for.

    Raises:
        BackendError: this student cannot be written in this format.
    """
    if format == "mlx" or format in QUANTIZED_FORMATS:
        write_mlx(loaded, folder, QUANTIZED_FORMATS.get(format))
    elif adapter is None or format == "transformers":
        write_transformers(loaded, folder)
    elif format == "adapter":
        write_peft(loaded, adapter, folder, base)
    else:
        write_mlx_adapter(loaded, adapter, folder)


def fits_transformers(loaded: Loaded) -> bool:
    """Whether the student's weights can be written for transformers.

    Args:
        loaded: the model, with its adapter on it.
    """
    # their shapes alone are looked at, so no array of a merged model is computed
    return loaded.config["model_type"] in SAME_NAMES or _form(loaded, _shapes(_whole(loaded.model))) is not None


def write_transformers(loaded: Loaded, folder: Path) -> None:
    """A whole model for transformers: an adapter is merged, quantized weights are written as plain ones.

    Of a model that takes pictures too the one of text is written, as transformers has it alone.

    Raises:
        BackendError: the names of its weights in transformers are not known.
    """
    weights = _whole(loaded.model)
    if loaded.config["model_type"] not in SAME_NAMES:
        form = _form(loaded, _shapes(weights))
        if form is None:
            raise BackendError(
                f"the names that transformers has for the weights of {loaded.config['model_type']!r} are not known",
                hint="use the format `mlx`",
            )
        undone = form.undo(weights)
        weights = undone | left_out(form, loaded.folder, undone)
    tied = not any(name.startswith(f"{PROJECTION}.") for name in weights)
    config = transformers_config(loaded.config, _own_config(loaded.folder), tied=tied)
    config |= {"dtype": str(_usual(weights)).removeprefix("mlx.core.")}
    _write(weights, as_untied(config) if loaded.untied else config, folder, made_for="pt")


def write_peft(loaded: Loaded, adapter: AdapterFile, folder: Path, base: str) -> None:
    """The adapter for peft.

    Raises:
        BackendError: peft has no such adapter.
    """
    tables = adapters.tables(loaded.model)
    if tables and is_tied(loaded.model):
        raise BackendError(
            "peft has no adapter that embeddings and a tied output projection share",
            hint="use the format `transformers`, `mlx` or `mlx-adapter`",
        )
    if strange := _layers_not_theirs(loaded, adapter):
        raise BackendError(
            f"{loaded.config['model_type']!r} has other names for its layers in transformers: peft would not find "
            f"{strange[0]}",
            hint="use the format `mlx-adapter` or `mlx`",
        )
    adapter_files.write_peft(trained(loaded.model), adapter, tables, folder, base)


def write_mlx_adapter(loaded: Loaded, adapter: AdapterFile, folder: Path) -> None:
    """The adapter for mlx-lm.

    Raises:
        BackendError: mlx-lm has no such adapter.
    """
    if loaded.untied:
        raise BackendError(
            "mlx-lm has no adapter on one of tied embeddings and output projection alone",
            hint="use the format `adapter`, `mlx` or `transformers`",
        )
    odd = [m.bits for m in loaded.model.modules() if hasattr(m, "scales") and hasattr(m, "bits") and 32 % m.bits]
    if adapter.kind == "dora" and odd:
        raise BackendError(
            f"mlx-lm reads no adapter of DoRA on weights of {odd[0]} bits",
            hint="use the format `mlx` or `transformers`",
        )
    adapter_files.write_mlx(trained(loaded.model), adapter, len(loaded.model.layers), folder)


def write_mlx(loaded: Loaded, folder: Path, bits: int | None = None) -> None:
    """A whole model for mlx-lm, an adapter merged.

    Args:
        loaded: the model, with its adapter on it.
        folder: to write.
        bits: of the weights. A student whose weights have them already keeps the quantization of each layer. Left out,
            merged weights are plain, and a student without an adapter stays as it is.

    Raises:
        BackendError: no layer can be quantized.
    """
    model, config = loaded.model, dict(loaded.config)
    layers = _quantized_layers(model)
    if bits is None and not any(name.endswith("lora_a") for name in by_name(model.parameters())):
        _write(by_name(model.parameters()), config, folder, made_for="mlx")
        return
    plain = _rebuilt(model)
    if bits is None or not layers or config["quantization"].get("bits", 4) != bits:
        config = {name: value for name, value in config.items() if name not in QUANTIZATION_KEYS}
        if bits is not None:
            config = quantize(plain, config, bits)
    else:
        _quantize_layers(plain, layers)
    _write(by_name(plain.parameters()), config, folder, made_for="mlx")


def _whole(model: Any) -> Arrays:
    """The weights of the model with its adapter merged, dequantized; the model itself stays as it is."""
    return by_name(_rebuilt(model).parameters())


def _rebuilt(model: Any) -> Any:
    twin = copy.deepcopy(model)
    # before the merge, as some modes dequantize to 16 bits, which would round the adapter away
    twin.update_modules(tree_unflatten(list(_dequantized(twin))))
    twin.update_modules(tree_unflatten(list(adapters.fused(twin))))
    return twin


def _dequantized(model: Any) -> Iterator[tuple[str, Any]]:
    """The quantized layers as plain ones in the type of the model's other weights, by name."""
    adapter, own = trained(model), by_name(model.parameters())
    kept = [v.dtype for name, v in own.items() if name not in adapter and mx.issubdtype(v.dtype, mx.floating)]
    for name, module in model.named_modules():
        if hasattr(module, "scales") and hasattr(module, "bits"):
            holder = nn.Module()
            holder.layer = module
            plain = mlx_lm("utils").dequantize_model(holder).layer
            plain.weight = plain.weight.astype(kept[0])
            yield name, plain


def _quantized_layers(model: Any) -> dict[str, dict[str, Any]]:
    """How each layer is quantized, by name; empty for a model that is not."""
    return {
        name: {"group_size": module.group_size, "bits": module.bits, "mode": module.mode}
        for name, module in model.named_modules()
        if hasattr(module, "scales") and hasattr(module, "bits")
    }


def _quantize_layers(plain: Any, layers: Mapping[str, dict[str, Any]]) -> None:
    """Quantize the merged layers as they were, in place."""

    def choose(name: str, module: Any) -> Any:
        return layers.get(name) or layers.get(f"{name}.linear") or layers.get(f"{name}.embedding") or False

    nn.quantize(plain, class_predicate=choose)


def _write(weights: Arrays, config: Config, folder: Path, *, made_for: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    params.write(folder / "model.safetensors", weights, made_for)
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _form(loaded: Loaded, shapes: Shapes) -> TransformersForm | None:
    kind = transformers_kind(loaded.config, _own_config(loaded.folder))
    return transformers_form(loaded.model, kind, loaded.folder, shapes)


def _usual(weights: Arrays) -> mx.Dtype:
    """The type that most weights have."""
    return Counter(value.dtype for value in weights.values()).most_common(1)[0][0]


def _own_config(folder: Path) -> Config:
    config: Config = json.loads((folder / "config.json").read_text())
    for name in (*QUANTIZATION_KEYS, "torch_dtype"):
        config.pop(name, None)
    return config


def _layers_not_theirs(loaded: Loaded, adapter: AdapterFile) -> list[str]:
    """The adapted layers that transformers has other names for.

    Those of the folder's weights, but that models inside of others keep an older form of their names in files.
    """
    if loaded.config["model_type"] in SAME_NAMES:
        return []
    theirs = _names(loaded.folder)
    return [
        layer
        for layer in adapter.layers
        if layer.startswith("language_model.") or (f"{layer}.weight" not in theirs and not _is_new(layer))
    ]


def _is_new(name: str) -> bool:
    return name.partition(".")[0] == PROJECTION


def _names(folder: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for file in folder.glob("model*.safetensors"):
        found |= _shapes(read(file))
    return found


def _shapes(weights: Mapping[str, mx.array]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}
