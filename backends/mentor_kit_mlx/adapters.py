"""Adapters: made by mlx-lm's tuner, written for mlx-lm and for peft, and read from both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.errors import BackendError, MissingError, did_you_mean
from mentor_kit.policy import AdapterSpec
from mentor_kit_mlx.mlxlm import mlx_lm
from mentor_kit_mlx.trees import Arrays, read, trained, write

Kind = Literal["lora", "dora"]
PEFT, PEFT_PREFIX = "adapter_model.safetensors", "base_model.model."
MLX = "adapters.safetensors"
#: Our (mlx-lm's) names of the parts, and peft's; its matrices are transposed.
PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
#: Keys of peft's configuration that are read, or that say nothing of what the adapter computes: where its layers are
#: is told by the names of its weights.
READ = frozenset(
    (
        "peft_type", "task_type", "base_model_name_or_path", "revision", "auto_mapping", "peft_version",
        "inference_mode", "runtime_config", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora",
        "rank_pattern", "alpha_pattern", "init_lora_weights", "target_modules", "exclude_modules",
        "layers_to_transform", "layers_pattern", "loftq_config", "eva_config", "corda_config",
        "qalora_group_size", "megatron_core",
    )
)  # fmt: skip
#: Ways to begin an adapter that leave the model's own weights as they were.
HARMLESS_STARTS = (True, False, "gaussian", "orthogonal")


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
    own: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """Rank and scale of those layers whose rank or scale is not that of the others, by full name."""

    def of(self, layer: str) -> tuple[int, float]:
        """A layer's rank and scale."""
        return self.own.get(layer, (self.rank, self.scale))


def adapted_layers(model: Any, targets: Sequence[str]) -> dict[str, Shape]:
    """The linear layers by full name: all inside the model's blocks, or those anywhere that the targets name.

    A target is a layer's full name or the end of one, as peft has it.

    Raises:
        BackendError: a target is the name of no linear layer.
    """
    linear = _linear_layers(model)
    if not targets:
        blocks = {id(module) for block in model.layers for module in block.modules()}
        return {name: _shape(module) for name, module in linear.items() if id(module) in blocks}
    for target in targets:
        if not any(_meant(name, target) for name in linear):
            raise _no_layer(model, target, linear)
    return {name: _shape(linear[name]) for name in linear if any(_meant(name, target) for target in targets)}


def _linear_layers(model: Any) -> dict[str, Any]:
    switch = mlx_lm("models.switch_layers")
    kinds = (nn.Linear, nn.QuantizedLinear, switch.SwitchLinear, switch.QuantizedSwitchLinear)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def _no_layer(model: Any, target: str, linear: Iterable[str]) -> BackendError:
    known = sorted({name.rpartition(".")[2] for name in linear})
    kinds = [type(module).__name__ for name, module in model.named_modules() if _meant(name, target)]
    if kinds:
        fault = f"{target!r} is a {kinds[0]}, and the MLX backend adapts linear layers alone"
    elif target == "lm_head":
        fault = "the model has no 'lm_head': its output projection is its embeddings"
    else:
        fault = f"no linear layer is called {target!r}{did_you_mean(target, known)}"
    return BackendError(f"student.adapter.targets: {fault}", hint=f"layers that can be adapted: {', '.join(known)}")


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
    adapter = Adapter(kind, spec.rank, spec.alpha / spec.rank, spec.dropout, layers)
    mx.random.seed(seed)
    _put(model, adapter)
    return adapter


def saved_parameters(folder: Path) -> int:
    """How many an adapter in a folder trains.

    Raises:
        MissingError: the folder has no adapter.
        BackendError: its weights cannot be read.
    """
    file = folder / (PEFT if (folder / PEFT).is_file() else MLX)
    if not file.is_file():
        raise MissingError(
            f"student.adapter: {folder} has neither {PEFT} nor {MLX}",
            hint="name a folder that mlx-lm, peft or `mentorkit export --format adapter` has written",
        )
    try:
        return sum(int(value.size) for value in read(file).values())
    except (OSError, ValueError, RuntimeError) as error:
        raise _misfit(folder, str(error)) from error


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
    """An adapter for mlx-lm: `mlx_lm.generate --adapter-path`.

    Raises:
        BackendError: its layers have ranks or scales of their own, which mlx-lm has no words for.
    """
    if adapter.own:
        raise BackendError(
            "the adapter's layers have several ranks or scales, and mlx-lm knows one",
            hint="use the format `adapter`, for peft, or `mlx`, the whole model",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / MLX, trained(model))
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
        "rank_pattern": {_pattern(layer): rank for layer, (rank, _) in adapter.own.items()},
        "alpha_pattern": {_pattern(layer): rank * scale for layer, (rank, scale) in adapter.own.items()},
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
    if not isinstance(config, dict):
        raise _misfit(folder, "its adapter_config.json is no mapping of keys to values")
    if "peft_type" in config:
        _check_peft(config, folder)
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

    def rank_and_scale(layer: str) -> tuple[int, float]:
        rank = int(_by_pattern(config.get("rank_pattern"), layer, config["r"]))
        alpha = float(_by_pattern(config.get("alpha_pattern"), layer, config["lora_alpha"]))
        return rank, alpha / (rank**0.5 if config.get("use_rslora") else rank)

    usual = rank_and_scale("")
    own = {layer: found for layer in layers if (found := rank_and_scale(layer)) != usual}
    kind: Kind = "dora" if config.get("use_dora") else "lora"
    return Adapter(kind, *usual, float(config.get("lora_dropout", 0.0)), layers, own), weights


def _by_pattern(patterns: Mapping[str, Any] | None, layer: str, usual: Any) -> Any:
    """A layer's value: that of the first pattern that fits its name or the end of it, as peft looks for it."""
    return next((value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", layer)), usual)


def _pattern(layer: str) -> str:
    """The pattern that fits a layer's full name alone."""
    return re.escape(layer)


def _check_peft(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse an adapter of peft whose configuration says something that would be left out here.

    Raises:
        BackendError: naming the key.
    """
    refused = next((key for key, value in config.items() if key not in READ and _says_something(value)), None)
    if config["peft_type"] != "LORA":
        refused = "peft_type"
    elif config.get("init_lora_weights", True) not in HARMLESS_STARTS:
        refused = "init_lora_weights"  # such starts change the base model's weights
    if refused is not None:
        raise BackendError(
            f"student.adapter: {folder / 'adapter_config.json'}: the MLX backend cannot read an adapter with "
            f"{refused}: {config[refused]!r}",
            hint="merge it into its model with peft, or use the torch backend",
        )


def _says_something(value: Any) -> bool:
    return value not in (None, False, "none") and value != [] and value != {}


def _of_mlx(model: Any, config: dict[str, Any], folder: Path) -> tuple[Adapter, Arrays]:
    weights = {name: value.astype(mx.float32) for name, value in read(folder / MLX).items()}
    layers = tuple(dict.fromkeys(name.rsplit(".", 1)[0] for name in weights))
    how = config["lora_parameters"]
    kind: Kind = "dora" if config.get("fine_tune_type") == "dora" else "lora"
    return Adapter(kind, int(how["rank"]), float(how["scale"]), float(how.get("dropout", 0.0)), layers), weights


def _put(model: Any, adapter: Adapter) -> None:
    """Wrap the layers; keys are full names, so that mlx-lm takes these layers and no others."""
    alike: dict[tuple[int, float], set[str]] = {}
    for layer in adapter.layers:
        alike.setdefault(adapter.of(layer), set()).add(layer)
    for (rank, scale), keys in alike.items():
        how = {"rank": rank, "scale": scale, "dropout": adapter.dropout, "keys": keys}
        mlx_lm("tuner.utils").linear_to_lora_layers(model, len(model.layers), how, use_dora=adapter.kind == "dora")
    model.eval()
    mx.eval(model.parameters())


def _meant(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _shape(module: Any) -> Shape:
    *experts, outputs, inputs = module.weight.shape
    packed = 32 // module.bits if hasattr(module, "bits") else 1
    return Shape(inputs * packed, outputs, experts[0] if experts else 1)
