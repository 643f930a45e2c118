"""Adapters: made by mlx-lm's tuner, written for mlx-lm and for peft, and read from both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.errors import BackendError, MissingError
from mentor_kit.policy import AdapterSpec
from mentor_kit_mlx.mlxlm import mlx_lm
from mentor_kit_mlx.trees import Arrays, read, trained, write

Kind = Literal["lora", "dora"]
PEFT, PEFT_PREFIX = "adapter_model.safetensors", "base_model.model."
#: Our (mlx-lm's) names of the parts, and peft's; its matrices are transposed.
PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}


@dataclass(frozen=True)
class Shape:
    """An adapted layer's widths."""

    inputs: int
    outputs: int
    experts: int = 1

    def parameters(self, rank: int, kind: str) -> int:
        """How many an adapter of it trains."""
        return self.experts * rank * (self.inputs + self.outputs) + (self.outputs if kind == "dora" else 0)


@dataclass(frozen=True)
class Adapter:
    """What is on a model."""

    kind: Kind
    rank: int
    scale: float
    dropout: float
    layers: tuple[str, ...]
    """Full names of the adapted layers."""


def adapted_layers(model: Any, targets: Sequence[str]) -> dict[str, Shape]:
    """The linear layers inside the model's blocks, by full name: all, or those with one of the names."""
    switch = mlx_lm("models.switch_layers")
    blocks = {id(module) for block in model.layers for module in block.modules()}
    found = {}
    for name, module in model.named_modules():
        kinds = (nn.Linear, nn.QuantizedLinear, switch.SwitchLinear, switch.QuantizedSwitchLinear)
        if id(module) in blocks and isinstance(module, kinds) and _meant(name, targets):
            found[name] = _shape(module)
    return found


def add_adapter(model: Any, spec: AdapterSpec, kind: Kind, seed: int) -> Adapter:
    """Put a new adapter, or one from a folder, on a model; only the adapter is trainable.

    Raises:
        MissingError: the adapter's folder is not there.
        BackendError: the adapter does not fit the model.
    """
    model.freeze()
    if spec.path is not None:
        return _read(model, spec.path)
    layers = tuple(adapted_layers(model, spec.targets))
    if not layers:
        raise BackendError(
            f"student.adapter: no linear layer is called {' or '.join(spec.targets) or 'anything'}",
            hint="set `targets` to names of linear layers",
        )
    adapter = Adapter(kind, spec.rank, spec.alpha / spec.rank, spec.dropout, layers)
    mx.random.seed(seed)
    _put(model, adapter)
    return adapter


def fused(model: Any) -> Iterator[tuple[str, Any]]:
    """The adapted layers as plain ones, by name, dequantized where they were quantized."""
    for name, module in model.named_modules():
        if hasattr(module, "lora_a") and hasattr(module, "fuse"):
            yield name, module.fuse(dequantize=True)


@contextmanager
def dropout(model: Any) -> Iterator[None]:
    """The adapter's own dropout is active for a while; the model's never is, as its sampling has none either."""
    parts = [module.dropout for module in model.modules() if hasattr(module, "lora_a")]
    try:
        for part in parts:
            part.train()
        yield
    finally:
        for part in parts:
            part.eval()


def write_mlx(model: Any, adapter: Adapter, folder: Path) -> None:
    """An adapter for mlx-lm: `mlx_lm.generate --adapter-path`."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "adapters.safetensors", trained(model))
    config = {
        "fine_tune_type": adapter.kind,
        # mlx-lm counts from the last block; more than there are would also mean all
        "num_layers": len(model.layers),
        "lora_parameters": {
            "rank": adapter.rank,
            "scale": adapter.scale,
            "dropout": adapter.dropout,
            "keys": list(adapter.layers),
        },
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))


def write_peft(model: Any, adapter: Adapter, folder: Path, base: str) -> None:
    """An adapter for peft, which the torch backend also reads.

    Raises:
        BackendError: it is on stacked experts, which peft writes otherwise.
    """
    weights = {}
    for name, value in trained(model).items():
        if value.ndim > 2:
            raise BackendError("peft has no such adapter of stacked experts", hint="use the format `mlx-adapter`")
        layer, part = name.rsplit(".", 1)
        weights[f"{PEFT_PREFIX}{layer}.{PARTS[part]}"] = mx.contiguous(value.T) if value.ndim == 2 else value
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / PEFT, weights, made_for="pt")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": adapter.rank,
        "lora_alpha": adapter.scale * adapter.rank,
        "lora_dropout": adapter.dropout,
        "use_dora": adapter.kind == "dora",
        "target_modules": list(adapter.layers),
        "bias": "none",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))


def _read(model: Any, folder: Path) -> Adapter:
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
    except FileNotFoundError as error:
        raise MissingError(
            f"student.adapter: {folder} has no adapter_config.json",
            hint="name a folder that mlx-lm, peft or `mentorkit export --format adapter` has written",
        ) from error
    except (OSError, ValueError) as error:
        raise _misfit(folder, str(error)) from error
    try:
        found, weights = _of_peft(config, folder) if "peft_type" in config else _of_mlx(model, config, folder)
        _put(model, found)
        if {name: value.shape for name, value in trained(model).items()} != {
            n: value.shape for n, value in weights.items()
        }:
            raise ValueError("its weights have other names or shapes")
        model.load_weights(list(weights.items()), strict=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _misfit(folder, str(error).strip().splitlines()[0] if str(error).strip() else repr(error)) from error
    mx.eval(model.trainable_parameters())
    return found


def _misfit(folder: Path, why: str) -> BackendError:
    return BackendError(
        f"student.adapter: {folder} does not fit the model: {why}",
        hint="use the model that the adapter was trained on",
    )


def _of_peft(config: dict[str, Any], folder: Path) -> tuple[Adapter, Arrays]:
    ours = {theirs: mine for mine, theirs in PARTS.items()}
    weights: Arrays = {}
    for name, value in read(folder / PEFT).items():
        name = name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")  # as older versions write it
        part = next((part for part in ours if name.endswith(f".{part}")), None)
        if part is None:
            raise ValueError(f"{name} is no part of LoRA or DoRA")
        layer = name.removesuffix(f".{part}").removeprefix(PEFT_PREFIX)
        weights[f"{layer}.{ours[part]}"] = (value.T if value.ndim == 2 else value).astype(mx.float32)
    layers = tuple(dict.fromkeys(name.rsplit(".", 1)[0] for name in weights))
    rank = int(config["r"])
    scale = float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
    kind: Kind = "dora" if config.get("use_dora") else "lora"
    return Adapter(kind, rank, scale, float(config.get("lora_dropout", 0.0)), layers), weights


def _of_mlx(model: Any, config: dict[str, Any], folder: Path) -> tuple[Adapter, Arrays]:
    weights = {name: value.astype(mx.float32) for name, value in read(folder / "adapters.safetensors").items()}
    layers = tuple(dict.fromkeys(name.rsplit(".", 1)[0] for name in weights))
    how = config["lora_parameters"]
    kind: Kind = "dora" if config.get("fine_tune_type") == "dora" else "lora"
    return Adapter(kind, int(how["rank"]), float(how["scale"]), float(how.get("dropout", 0.0)), layers), weights


def _put(model: Any, adapter: Adapter) -> None:
    """Wrap the layers; keys are full names, so that mlx-lm takes these layers and no others."""
    how = {"rank": adapter.rank, "scale": adapter.scale, "dropout": adapter.dropout, "keys": set(adapter.layers)}
    mlx_lm("tuner.utils").linear_to_lora_layers(model, len(model.layers), how, use_dora=adapter.kind == "dora")
    model.eval()
    mx.eval(model.parameters())


def _meant(name: str, targets: Sequence[str]) -> bool:
    return not targets or name.rsplit(".", 1)[-1] in targets


def _shape(module: Any) -> Shape:
    *experts, outputs, inputs = module.weight.shape
    packed = 32 // module.bits if hasattr(module, "bits") else 1
    return Shape(inputs * packed, outputs, experts[0] if experts else 1)
