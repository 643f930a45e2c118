"""Adapters on a model of mlx-lm: new ones, and ones from folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from mentor_kit.backend.adapters import check_targets, is_target, misfit, read_adapter_config
from mentor_kit.backend.folders import first_line
from mentor_kit.backend.peft_limits import peft_limit, without_effect
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.adapter_files import AdapterFile, Kind, LowRank, Saved, read_mlx, read_peft
from mentor_kit_mlx.embeddings import (
    PROJECTION,
    cannot_untie,
    check_untied,
    is_tied,
    projection_name,
    tied_embeddings,
    untie,
)
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.peft_layers import PeftLayers

#: Classes of embeddings.
EMBEDDINGS = (nn.Embedding, nn.QuantizedEmbedding)
#: Layers whose weights mlx-lm reads by itself, which an adapter would hide: Gemma 3n's, and Kimi K3's.
READ_DIRECTLY = (
    "prediction_coefs",
    "correction_coefs",
    "self_attention_res_proj",
    "mlp_res_proj",
    "output_attn_res_proj",
)
#: What reading a damaged adapter raises.
UNFIT = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, re.error)


@dataclass(frozen=True)
class Shape:
    """An adapted layer's widths."""

    inputs: int
    outputs: int
    experts: int = 1

    def parameters(self, rank: int, kind: str) -> int:
        """The number of parameters of an adapter on it."""
        return self.experts * rank * (self.inputs + self.outputs) + (self.outputs if kind == "dora" else 0)


def adaptable(model: Any) -> dict[str, Shape]:
    """The layers that can have an adapter, by full name; tied embeddings are an output projection too."""
    switch = mlx_lm("models.switch_layers")
    kinds = (nn.Linear, nn.QuantizedLinear, switch.SwitchLinear, switch.QuantizedSwitchLinear, *EMBEDDINGS)
    found = {
        name: _shape(module)
        for name, module in model.named_modules()
        if isinstance(module, kinds) and name.rpartition(".")[2] not in READ_DIRECTLY
    }
    if is_tied(model):
        table = _shape(tied_embeddings(model))
        found[projection_name(model)] = Shape(table.outputs, table.inputs)
    return found


def adapted_layers(model: Any, spec: AdapterSpec) -> dict[str, Shape]:
    """The layers of a new adapter: those that match a target, or without targets the linear ones in the model's blocks.

    Raises:
        BackendError: a target matches no layer.
    """
    layers = adaptable(model)
    if spec.targets:
        others = {name: type(module).__name__ for name, module in model.named_modules() if name not in layers}
        check_targets(spec.targets, layers, others)
        return {name: shape for name, shape in layers.items() if is_target(name, spec.targets)}
    blocks = {id(module) for block in model.layers for module in block.modules()}
    inside = {
        name for name, module in model.named_modules() if id(module) in blocks and not isinstance(module, EMBEDDINGS)
    }
    found = {name: shape for name, shape in layers.items() if name in inside}
    if not found:
        raise BackendError(
            "student.adapter: there is no linear layer in the model's blocks", hint="train the whole model"
        )
    return found


def adapter_parameters(model: Any, spec: AdapterSpec, kind: Kind, names: PeftLayers) -> int:
    """The number of parameters that an adapter trains; the model's weights are never computed.

    Args:
        model: of mlx-lm.
        spec: the adapter.
        kind: of a new one.
        names: of the model's layers in peft.

    Raises:
        MissingError: the adapter's folder is not there.
        BackendError: the adapter does not fit the model.
    """
    if spec.path is None:
        return sum(shape.parameters(spec.rank, kind) for shape in adapted_layers(model, spec).values())
    saved = _saved(model, spec.path, names)
    _check_shapes(model, saved, spec.path)
    return sum(value.size for value in saved.weights.values())


def add_adapter(model: Any, spec: AdapterSpec, kind: Kind, seed: int, names: PeftLayers) -> AdapterFile:
    """Put a new adapter, or one from a folder, on a model; only the adapter is trainable.

    A new adapter, or one of peft, on embeddings or a tied output projection unties the model.

    Args:
        model: of mlx-lm.
        spec: the adapter.
        kind: of a new one.
        seed: for a new one's weights.
        names: of the model's layers in peft.

    Raises:
        MissingError: the adapter's folder is not there.
        BackendError: the adapter does not fit the model.
    """
    model.freeze()
    if spec.path is not None:
        return _read(model, spec.path, names)
    pair = LowRank(spec.rank, spec.alpha / spec.rank)
    adapter = AdapterFile(kind, spec.dropout, dict.fromkeys(adapted_layers(model, spec), pair))
    _untie_for(model, adapter)
    mx.random.seed(seed)
    _put(model, adapter)
    return adapter


def tables(model: Any) -> list[str]:
    """Names of the embeddings that have an adapter."""
    kind = mlx_lm("tuner.lora").LoRAEmbedding
    return [name for name, module in model.named_modules() if isinstance(module, kind)]


def fused(model: Any) -> Iterator[tuple[str, Any]]:
    """The adapted layers as plain ones, by name, dequantized where they were quantized."""
    for name, module in model.named_modules():
        if hasattr(module, "lora_a") and hasattr(module, "fuse"):
            yield name, module.fuse(dequantize=True)


def dropouts(model: Any) -> list[Any]:
    """The dropout of the adapted layers."""
    return [module.dropout for module in model.modules() if hasattr(module, "lora_a")]


def _read(model: Any, folder: Path, names: PeftLayers) -> AdapterFile:
    saved = _saved(model, folder, names)
    _check_shapes(model, saved, folder)
    _check_base(model, saved, folder)
    if saved.unties:
        _untie_for(model, saved.adapter)
    _put(model, saved.adapter)
    model.load_weights(list(saved.weights.items()), strict=False)
    mx.eval(model.trainable_parameters())
    return saved.adapter


def _saved(model: Any, folder: Path, names: PeftLayers) -> Saved:
    config = read_adapter_config(folder)
    try:
        if "peft_type" in config:
            modules, parameters = names.places(adaptable(model))
            weights = [f"{module}.weight" for module in modules]
            parameters += [weight for weight in weights if weight not in parameters]
            saved = read_peft(config, folder, modules, parameters)
            _check_effect(saved, folder, names.kind)
            return _from_peft(saved, model, names)
        return read_mlx(config, folder)
    except BackendError:
        raise
    except UNFIT as error:
        raise misfit(folder, first_line(error)) from error


def _check_effect(saved: Saved, folder: Path, kind: str) -> None:
    """Refuse what was trained on a layer where peft does not add it, and mlx-lm would."""
    for layer in saved.adapter.layers:
        if (limit := peft_limit(kind, layer)) is not None and bool(mx.any(saved.weights[f"{layer}.lora_b"] != 0)):
            raise without_effect(folder, layer, limit)


def _from_peft(saved: Saved, model: Any, names: PeftLayers) -> Saved:
    """An adapter by mlx-lm's names."""
    layers = adaptable(model)
    weights, adapter = names.from_peft(
        saved.weights, saved.adapter, {name: shape.experts for name, shape in layers.items()}
    )
    own = {names.place(layer).name: layer for layer in layers}
    base = {own.get(name, name): value for name, value in saved.base.items()}
    return Saved(adapter, weights, base, saved.unties)


def _check_shapes(model: Any, saved: Saved, folder: Path) -> None:
    """Refuse weights that do not fit the adapter's layers, and layers without weights."""
    layers, adapter = adaptable(model), saved.adapter
    found = {name: tuple(value.shape) for name, value in saved.weights.items()}
    for name, pair in adapter.layers.items():
        if name not in layers:
            raise misfit(folder, f"the model has no layer {name}")
        for matrix, shape in _matrix_shapes(layers[name], pair.rank, adapter.kind).items():
            if (own := found.pop(f"{name}.{matrix}", None)) != shape:
                there = "is not there" if own is None else f"has the shape {own}"
                raise misfit(folder, f"{name}.{matrix} {there}, and should have {shape}")
    if found:
        raise misfit(folder, f"{next(iter(found))} belongs to no layer of the adapter")


def _matrix_shapes(shape: Shape, rank: int, kind: Kind) -> dict[str, tuple[int, ...]]:
    if shape.experts > 1:
        inner, outer = (shape.experts, rank, shape.inputs), (shape.experts, shape.outputs, rank)
        return {"lora_a": inner, "lora_b": outer}
    pair: dict[str, tuple[int, ...]] = {"lora_a": (shape.inputs, rank), "lora_b": (rank, shape.outputs)}
    return pair | ({"m": (shape.outputs,)} if kind == "dora" else {})


def _check_base(model: Any, saved: Saved, folder: Path) -> None:
    """Refuse an adapter that comes with other embeddings than the model's: peft would replace them."""
    own: Mapping[str, Any] = dict(model.named_modules())
    ends = [projection_name(model)] if is_tied(model) else []
    for name, value in saved.base.items():
        layer = own.get(name, tied_embeddings(model) if name in ends else None)
        if layer is None or not hasattr(layer, "weight"):
            raise misfit(folder, f"the model has no layer {name}")
        weight, tolerance = layer.weight, 1e-2
        if hasattr(layer, "scales"):
            how = {"group_size": layer.group_size, "bits": layer.bits, "mode": layer.mode}
            weight, tolerance = mx.dequantize(weight, layer.scales, layer.get("biases"), **how), 0.25
        if weight.shape != value.shape:
            raise misfit(folder, f"{name} has the shape {value.shape} there, and {weight.shape} in the model")
        gap = mx.linalg.norm((weight - value).astype(mx.float32))
        if float(gap) > tolerance * float(mx.linalg.norm(value.astype(mx.float32))):
            raise misfit(folder, f"it comes with other weights of {name}")


def _untie_for(model: Any, adapter: AdapterFile) -> None:
    """Untie the model where an adapter is on its embeddings or its output projection.

    Raises:
        BackendError: mlx-lm's model cannot be untied.
    """
    own = dict(model.named_modules())
    if any(name.rpartition(".")[2] == PROJECTION for name in own):
        return
    ends = [projection_name(model)] if is_tied(model) else [PROJECTION]
    if not any(name in ends or isinstance(own.get(name), EMBEDDINGS) for name in adapter.layers):
        return
    if not is_tied(model):
        raise cannot_untie(model)
    ids = mx.arange(4)[None] % tied_embeddings(model).weight.shape[0]
    before = model(ids)
    mx.eval(before)
    untie(model)
    check_untied(model, before, ids)


def _put(model: Any, adapter: AdapterFile) -> None:
    """Wrap the layers, in the model's order, so that a seed always gives the same adapter."""
    layers = [
        (name, _wrapped(name, module, adapter.kind, adapter.layers[name], adapter.dropout))
        for name, module in model.named_modules()
        if name in adapter.layers
    ]
    model.update_modules(tree_unflatten(layers))
    model.eval()
    mx.eval(model.parameters())


def _wrapped(name: str, module: Any, kind: Kind, pair: LowRank, dropout: float) -> Any:
    """A layer with an adapter of mlx-lm's."""
    lora, dora = mlx_lm("tuner.lora"), mlx_lm("tuner.dora")
    how: dict[str, Any] = {"r": pair.rank, "scale": pair.scale, "dropout": dropout}
    if kind == "dora":
        if not isinstance(module, nn.Linear | nn.QuantizedLinear):
            raise BackendError(
                f"student.adapter: DoRA is for linear layers, and {name} is a {type(module).__name__}",
                hint="leave that layer out of the targets, or use `adapter: lora`",
            )
        shape = _shape(module)
        wrapped = dora.DoRALinear(shape.inputs, shape.outputs, **how)
        wrapped.set_linear(module)
        return wrapped
    if hasattr(module, "to_lora"):
        return module.to_lora(**how)
    if isinstance(module, EMBEDDINGS):
        # as in peft, embeddings have no dropout
        return lora.LoRAEmbedding.from_base(module, **how | {"dropout": 0.0})
    return (lora.LoRALinear if isinstance(module, nn.Linear | nn.QuantizedLinear) else lora.LoRASwitchLinear).from_base(
        module, **how
    )


def _shape(module: Any) -> Shape:
    *experts, outputs, inputs = module.weight.shape
    if hasattr(module, "bits"):
        inputs = inputs * 32 // module.bits
    if isinstance(module, EMBEDDINGS):
        inputs, outputs = outputs, inputs  # from a token to its state
    return Shape(inputs, outputs, experts[0] if experts else 1)
