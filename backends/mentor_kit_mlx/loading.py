"""Loading: a model in memory from a student's folder or hub id, with its device and floating-point type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mentor_kit.backend import folders
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit_mlx.config import FORMAT, Config, find_folder, read_config
from mentor_kit_mlx.grouped_masks import take_masks_of_rows
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.params import Arrays, freeze_buffers, read
from mentor_kit_mlx.weight_words import model_classes


@dataclass(frozen=True)
class Loaded:
    """A loaded model and its source."""

    model: Any
    config: Config
    folder: Path
    parameters_twice: int = 0
    """Parameters that count twice, as output projection and as embeddings, since the model was untied."""

    @property
    def untied(self) -> bool:
        """Whether embeddings and output projection are tied in the folder, and not in the model."""
        return self.parameters_twice > 0


def pick_device(name: str) -> mx.Device:
    """The device an option names.

    Raises:
        MissingError: it is not on this machine.
    """
    has_gpu = mx.is_available(mx.gpu)
    if name == "gpu" and not has_gpu:
        raise MissingError("backend.device: MLX has no GPU on this machine", hint="use `device: auto` or `cpu`")
    return mx.Device(mx.cpu if name == "cpu" or not has_gpu else mx.gpu, 0)


def load_model(student: StudentSpec, options: MLXOptions) -> Loaded:
    """The model in evaluation mode, frozen, without an adapter.

    Raises:
        MissingError: there is no such folder, and no hub that has it.
        BackendError: the folder holds no model that mlx-lm can run.
    """
    folder = find_folder(student)
    config = read_config(folder)
    with model_errors(student):
        model, config = mlx_lm("utils").load_model(
            folder, lazy=True, model_config=config, get_model_classes=model_classes
        )
        if (dtype := pick_dtype(options)) is not None:
            model.set_dtype(dtype)
        if options.quantize is not None and "quantization" not in config:
            config = quantize(model, config, options.quantize)
        mx.eval(model.parameters())
    model.eval()
    freeze_buffers(model)
    take_masks_of_rows(model)
    return Loaded(model, config, folder)


def model_errors(student: StudentSpec) -> AbstractContextManager[None]:
    """Turn what a model's own code raises about an odd folder into an error that names the folder.

    Raises:
        BackendError: in place of any error but ours.
    """
    return folders.model_errors(student.model, takes=f"a language model that mlx-lm knows, in {FORMAT}")


def pick_dtype(options: MLXOptions) -> mx.Dtype | None:
    """The floating-point type of an option; None for the model's own."""
    if options.dtype != "auto":
        dtype: mx.Dtype = getattr(mx, options.dtype)
        return dtype
    return mx.float32 if pick_device(options.device).type == mx.cpu else None


def compiles(options: MLXOptions) -> bool:
    """Whether the optimizer's arithmetic is compiled."""
    return pick_device(options.device).type != mx.cpu if options.compile == "auto" else options.compile


def quantize(model: Any, config: Config, bits: int, group_size: int = 64) -> Config:
    """Quantize every layer that can be, in place, as mlx-lm does; returns the configuration with the quantization.

    Layers that mlx-lm keeps in more bits, such as the routers of experts, have them here too.

    Raises:
        BackendError: no layer is wide enough.
    """
    import mlx.nn as nn

    usual: dict[str, Any] = {"group_size": group_size, "bits": bits, "mode": "affine"}
    theirs = getattr(model, "quant_predicate", None)
    own: dict[str, dict[str, Any]] = {}

    def chosen(name: str, module: Any) -> Any:
        if not hasattr(module, "to_quantized") or module.weight.shape[-1] % group_size:
            return False
        wanted = True if theirs is None else theirs(name, module)
        if isinstance(wanted, Mapping):
            own[name] = {**usual, **wanted}
            return own[name]
        return wanted

    if not any(chosen(name, module) for name, module in model.named_modules()):
        raise BackendError(
            f"backend.quantize: no layer's width is a multiple of {group_size}", hint="leave `quantize` out"
        )
    nn.quantize(model, class_predicate=chosen, **usual)
    how = usual | own
    return config | {"quantization": how, "quantization_config": how}


def quantize_as(model: Any, how: Mapping[str, Any], folder: Path | None) -> None:
    """Quantize the layers that a folder's weights, or else its configuration, have quantized, in place.

    Where the weights are not there yet, an index of them tells which layers are quantized, and the configuration how.
    Without an index, layers are taken to be quantized as mlx-lm does it.

    Args:
        model: not quantized yet; its weights are never computed.
        how: `quantization` of config.json: the group's size, bits and mode, and for layers by name others, or false.
        folder: the student's; only the names and shapes in its files of weights are read. None where there is none.
    """
    import mlx.nn as nn

    weights = {} if folder is None else _saved(folder)
    names = weights.keys() or (set() if folder is None else _indexed(folder))
    usual, theirs = _whole(how), getattr(model, "quant_predicate", None)

    def chosen(name: str, module: Any) -> Any:
        own = how.get(name)
        if isinstance(own, Mapping):
            return _whole(own)
        if own is False or not hasattr(module, "to_quantized"):
            return False
        if names and f"{name}.scales" not in names:
            return False
        if weights:
            return mlx_lm("utils").infer_quant_config(name, module, weights)
        if module.weight.shape[-1] % usual["group_size"]:
            return False
        wanted = True if names or theirs is None else theirs(name, module)
        return {**usual, **wanted} if isinstance(wanted, Mapping) else usual if wanted else False

    nn.quantize(model, class_predicate=chosen, **usual)


def _whole(how: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a quantization, with the defaults of its mode."""
    mode = how.get("mode") or "affine"
    size, bits = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}.get(mode, (64, 4))
    return {"group_size": how.get("group_size") or size, "bits": how.get("bits") or bits, "mode": mode}


def _saved(folder: Path) -> Arrays:
    """The weights in a folder; nothing but names and shapes is read until they are used."""
    found: Arrays = {}
    for file in sorted(folder.glob("model*.safetensors")):
        found |= read(file)
    return found


def _indexed(folder: Path) -> set[str]:
    """The names of a folder's weights by its index; none where it has no index that can be read."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_bytes())
        return set(index["weight_map"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
