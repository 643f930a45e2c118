"""Export: a student as a folder of transformers or mlx-lm, or an adapter for either."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.core.errors import BackendError
from mentor_kit_mlx import params
from mentor_kit_mlx.adapter_export import mlx_adapter_fault, peft_fault, write_mlx_adapter, write_peft
from mentor_kit_mlx.adapter_files import AdapterFile
from mentor_kit_mlx.config import Config
from mentor_kit_mlx.embeddings import PROJECTION, as_untied
from mentor_kit_mlx.known_form import QUANTIZATION_KEYS, SAME_NAMES, form_of, own_config
from mentor_kit_mlx.loading import Loaded, quantize
from mentor_kit_mlx.options import QUANTIZED_FORMATS
from mentor_kit_mlx.params import Arrays, by_name
from mentor_kit_mlx.plain_weights import plain_twin, plain_weights
from mentor_kit_mlx.transformers_config import transformers_config
from mentor_kit_mlx.transformers_form import left_out


def fault(loaded: Loaded, adapter: AdapterFile | None, format: str) -> BackendError | None:
    """Why a student cannot be written in a format; None where it can.

    Args:
        loaded: the model, with its adapter on it.
        adapter: that adapter.
        format: one of `EXPORT_FORMATS`.
    """
    if format == "transformers" and loaded.config["model_type"] not in SAME_NAMES and form_of(loaded) is None:
        return BackendError(
            f"the names that transformers has for the weights of {loaded.config['model_type']!r} are not known",
            hint="use the format `mlx`",
        )
    if adapter is not None and format == "adapter":
        return peft_fault(loaded, adapter)
    if adapter is not None and format == "mlx-adapter":
        return mlx_adapter_fault(loaded, adapter)
    return None


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
    if (found := fault(loaded, adapter, format)) is not None:
        raise found
    if format == "mlx" or format in QUANTIZED_FORMATS:
        write_mlx(loaded, folder, QUANTIZED_FORMATS.get(format))
    elif adapter is None or format == "transformers":
        write_transformers(loaded, folder)
    elif format == "adapter":
        write_peft(loaded, adapter, folder, base)
    else:
        write_mlx_adapter(loaded, adapter, folder)


def write_transformers(loaded: Loaded, folder: Path) -> None:
    """A whole model for transformers: an adapter is merged, quantized weights are written as plain ones.

    Of a model that takes pictures too the one of text is written, as transformers has it alone.
    """
    weights = plain_weights(loaded.model)
    if loaded.config["model_type"] not in SAME_NAMES and (form := form_of(loaded)) is not None:
        undone = form.undo(weights)
        weights = undone | left_out(form, loaded.folder, undone)
    tied = not any(name.startswith(f"{PROJECTION}.") for name in weights)
    config = transformers_config(loaded.config, own_config(loaded.folder), tied=tied)
    config |= {"dtype": str(_usual(weights)).removeprefix("mlx.core.")}
    _write(weights, as_untied(config) if loaded.untied else config, folder, made_for="pt")


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
    plain = plain_twin(model)
    if bits is None or not layers or config["quantization"].get("bits", 4) != bits:
        config = {name: value for name, value in config.items() if name not in QUANTIZATION_KEYS}
        if bits is not None:
            config = quantize(plain, config, bits)
    else:
        _quantize_layers(plain, layers)
    _write(by_name(plain.parameters()), config, folder, made_for="mlx")


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


def _usual(weights: Arrays) -> mx.Dtype:
    """The type that most weights have."""
    return Counter(value.dtype for value in weights.values()).most_common(1)[0][0]
