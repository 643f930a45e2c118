"""Adapters in folders, in the formats of mlx-lm and of peft."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mlx.core as mx

from mentor_kit.backend.adapters import ADAPTER_CONFIG, LORA_KEYS, check_peft_config, is_target, unsupported
from mentor_kit.backend.text_weights import inside_name, is_inside, text_name
from mentor_kit.core.frozen_model import Json
from mentor_kit_mlx.params import Arrays, read, write

Kind = Literal["lora", "dora"]
PEFT, PEFT_PREFIX, MLX = "adapter_model.safetensors", "base_model.model.", "adapters.safetensors"
#: mlx-lm's and peft's names of an adapter's arrays on linear layers and on embeddings; peft transposes matrices.
LINEAR_NAMES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
EMBEDDING_NAMES = {"lora_a": "lora_embedding_A", "lora_b": "lora_embedding_B"}
#: Values of peft's `init_lora_weights` that leave the model's own weights as they are.
BEGINNINGS = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class LowRank:
    """The low-rank pair on a layer: scale · B · A."""

    rank: int
    scale: float


@dataclass(frozen=True)
class AdapterFile:
    """A description of an adapter."""

    kind: Kind
    dropout: float
    layers: Mapping[str, LowRank]
    """By the full names of the adapted layers."""


@dataclass(frozen=True)
class Saved:
    """An adapter in a folder."""

    adapter: AdapterFile
    weights: Arrays
    """By mlx-lm's names."""
    base: Arrays
    """The model's own weights of embeddings that were saved with it, by layer."""
    unties: bool
    """Whether embeddings and output projection are two layers to it even where they are tied, as in peft."""


def read_peft(config: Mapping[str, Json], folder: Path, layers: Sequence[str], parameters: Sequence[str]) -> Saved:
    """Read an adapter of peft; its weights and its configuration have to be of the same layers.

    Args:
        config: of the adapter.
        folder: of the adapter.
        layers: names of all modules of the model of text that can have one, in transformers.
        parameters: those of all parameters that can have one, in the order that their modules have them in.

    Returns:
        The adapter, its layers and weights by the names of the model of text alone; in the shapes of mlx-lm's on linear
        layers.

    Raises:
        BackendError: the configuration has a setting that is not supported.
        ValueError, KeyError, …: weights and configuration do not belong together.
    """
    check_peft_config(config, folder, LORA_KEYS | {"target_parameters"})
    begins = config.get("init_lora_weights", True)
    if begins not in BEGINNINGS:
        raise unsupported(folder, "init_lora_weights", begins)
    weights, base = _peft_weights(config, folder)
    if is_inside(weights):
        layers, parameters = list(map(inside_name, layers)), list(map(inside_name, parameters))
    targeted = [name for name in parameters if is_target(name, _names(config.get("target_parameters")))]
    weights = _on_parameters(weights, targeted)
    _check_targets(config, {name.rpartition(".")[0] for name in weights}, layers, targeted)
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    own = {}
    for name in {name.rpartition(".")[0]: None for name in weights}:
        rank = int(_by_pattern(ranks, name, config.get("r", 8)))
        if (found := weights[f"{name}.lora_a"].shape[-1]) % rank or (found != rank and name not in targeted):
            raise ValueError(f"{name} has the rank {found}, and {rank} by `r` and `rank_pattern`")
        alpha = float(_by_pattern(alphas, name, config.get("lora_alpha", 8)))
        own[text_name(name)] = LowRank(rank, alpha / (rank**0.5 if config.get("use_rslora") else rank))
    kind: Kind = "dora" if config.get("use_dora") else "lora"
    weights, base = ({text_name(name): value for name, value in held.items()} for held in (weights, base))
    return Saved(AdapterFile(kind, float(config.get("lora_dropout") or 0.0), own), weights, base, unties=True)


def _names(value: Json) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _on_parameters(weights: Arrays, parameters: Sequence[str]) -> Arrays:
    """Weights on parameters by the parameters' names: peft has them by their module's, one inside of the other.

    The last of a module's parameters is on the outside.
    """
    held: dict[str, list[str]] = {}
    for name in parameters:
        held.setdefault(name.rpartition(".")[0], []).append(name)
    found = {}
    for name, value in weights.items():
        layer, _, part = name.rpartition(".")
        module = layer.replace(".base_layer", "")
        if module in held:
            layer = held[module][-1 - layer.count(".base_layer")]
        found[f"{layer}.{part}"] = value
    return found


def read_mlx(config: Mapping[str, Json], folder: Path) -> Saved:
    """Read an adapter of mlx-lm.

    Raises:
        BackendError: it has a whole model's weights.
        ValueError, KeyError, …: it is damaged.
    """
    kind = config.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora"):
        raise unsupported(folder, "fine_tune_type", kind)
    weights = {name: value.astype(mx.float32) for name, value in read(folder / MLX).items()}
    how = config["lora_parameters"]
    pair = LowRank(int(how["rank"]), float(how["scale"]))
    layers = {name.rpartition(".")[0]: pair for name in weights}
    return Saved(AdapterFile(kind, float(how.get("dropout") or 0.0), layers), weights, {}, unties=False)


def write_mlx(weights: Arrays, adapter: AdapterFile, blocks: int, folder: Path) -> None:
    """Write an adapter for mlx-lm, as `mlx_lm.generate --adapter-path` reads it.

    mlx-lm has one rank and one scale for all layers: smaller ranks are filled up with zeros, and other scales are
    multiplied into the weights.
    """
    rank = max(pair.rank for pair in adapter.layers.values())
    common = Counter(pair.scale for pair in adapter.layers.values()).most_common(1)[0][0]
    pair = LowRank(rank, common)
    weights = {
        name: _filled(name, value, adapter.layers[name.rpartition(".")[0]], pair) for name, value in weights.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / MLX, weights)
    config = {
        "fine_tune_type": adapter.kind,
        # mlx-lm counts from the last block; more than there are would also mean all
        "num_layers": blocks,
        "lora_parameters": {
            "rank": pair.rank,
            "scale": pair.scale,
            "dropout": adapter.dropout,
            "keys": list(adapter.layers),
        },
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2))


def _filled(name: str, value: mx.array, own: LowRank, wanted: LowRank) -> mx.array:
    """An array of a pair as one of another rank and scale."""
    part, is_stacked = name.rpartition(".")[2], value.ndim == 3
    if part == "m" or own == wanted:
        return value
    axis = 1 if part == "lora_a" else 2 if is_stacked else 0
    widths = [(0, wanted.rank - own.rank if index == axis else 0) for index in range(value.ndim)]
    return mx.pad(value if part == "lora_a" else value * (own.scale / wanted.scale), widths)


def write_peft(
    weights: Arrays,
    adapter: AdapterFile,
    embeddings: Sequence[str],
    parameters: Sequence[str],
    folder: Path,
    base: str,
) -> None:
    """Write an adapter for peft, which the torch backend also reads.

    Args:
        weights: by transformers' names, in the shapes of mlx-lm's on linear layers.
        adapter: their description.
        embeddings: names of adapted layers that are embeddings.
        parameters: names of those that are parameters, in the order that their modules have them in.
        folder: to write.
        base: the model that it is for.
    """
    modules = [parameter.rpartition(".")[0] for parameter in parameters]
    found = {}
    for name, value in weights.items():
        layer, _, part = name.rpartition(".")
        theirs = (EMBEDDING_NAMES if layer in embeddings else LINEAR_NAMES)[part]
        if layer in parameters:
            index = list(parameters).index(layer)
            layer = modules[index] + ".base_layer" * modules[index + 1 :].count(modules[index])
        found[f"{PEFT_PREFIX}{layer}.{theirs}"] = mx.contiguous(value.T) if value.ndim == 2 else value
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / PEFT, found, made_for="pt")
    common = Counter(adapter.layers.values()).most_common(1)[0][0]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": common.rank,
        "lora_alpha": common.scale * common.rank,
        "rank_pattern": {n: pair.rank for n, pair in adapter.layers.items() if pair.rank != common.rank},
        "alpha_pattern": {n: pair.scale * pair.rank for n, pair in adapter.layers.items() if pair != common},
        # peft has none on parameters
        "lora_dropout": 0.0 if parameters else adapter.dropout,
        "use_dora": adapter.kind == "dora",
        "target_modules": [name for name in adapter.layers if name not in parameters],
        "bias": "none",
        "inference_mode": True,
    }
    if parameters:
        config["target_parameters"] = list(parameters)
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2))


def _peft_weights(config: Mapping[str, Json], folder: Path) -> tuple[Arrays, Arrays]:
    """The adapter's weights by mlx-lm's names, and the model's own weights beside them by layer."""
    weights, base = {}, {}
    for name, value in read(folder / PEFT).items():
        # as older versions write it
        known = name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector").removeprefix(PEFT_PREFIX)
        if known == name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector"):
            raise ValueError(f"{name} does not begin with {PEFT_PREFIX}")
        layer, part = _part(known)
        if part is not None:
            weights[f"{layer}.{part}"] = (value.T if value.ndim == 2 else value).astype(mx.float32)
        elif known.endswith(".weight"):
            base[known.removesuffix(".weight").removesuffix(".base_layer")] = value
        elif known.endswith(".bias") and config.get("bias", "none") != "none":
            raise unsupported(folder, "bias", config["bias"])
        else:
            raise ValueError(f"{name} belongs to neither LoRA nor DoRA")
    return weights, base


def _part(name: str) -> tuple[str, str | None]:
    """The layer of a weight, and mlx-lm's name of it; None where it is not an adapter's."""
    for names in (LINEAR_NAMES, EMBEDDING_NAMES):
        for ours, theirs in names.items():
            if name.endswith(f".{theirs}"):
                return name.removesuffix(f".{theirs}"), ours
    return name, None


def _by_pattern(patterns: Mapping[str, Json], name: str, default: Json) -> Json:
    """The value of the first pattern that ends a layer's name, or the default."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)


def _check_targets(
    config: Mapping[str, Json], found: Collection[str], layers: Sequence[str], parameters: Sequence[str]
) -> None:
    """Refuse weights of layers that the configuration leaves out, and layers without weights.

    Args:
        config: of the adapter.
        found: names of the layers, or parameters, that there are weights of.
        layers: names of all that can have an adapter.
        parameters: those of all parameters that the configuration names.
    """
    if config.get("target_modules") is None and not parameters:
        raise ValueError("`target_modules` is not there")
    if unknown := [name for name in found if name not in layers and name not in parameters]:
        raise ValueError(f"the model has no layer {unknown[0]}")
    if surplus := [name for name in found if name not in parameters and not _is_meant(config, name)]:
        raise ValueError(f"there are weights of {surplus[0]}, which `target_modules` and its companions exclude")
    lacking = [name for name in layers if name not in found and _is_meant(config, name)]
    if lacking and config.get("target_modules") != "all-linear":
        raise ValueError(f"`target_modules` and its companions include {lacking[0]}, which has no weights")
    if without := [name for name in parameters if name not in found]:
        raise ValueError(f"`target_parameters` includes {without[0]}, which has no weights")


def _is_meant(config: Mapping[str, Json], name: str) -> bool:
    """Whether peft would put an adapter on a layer."""
    targets = config.get("target_modules")
    if _matches(config.get("exclude_modules"), name):
        return False
    if targets == "all-linear":
        return not name.endswith(("embed_tokens", "lm_head"))
    if not _matches(targets, name):
        return False
    numbers = config.get("layers_to_transform")
    if isinstance(targets, str) or numbers is None or numbers == []:
        return True
    number = _number(name, config.get("layers_pattern"))
    return number is not None and number in (numbers if isinstance(numbers, list) else [numbers])


def _matches(targets: Json, name: str) -> bool:
    if not targets:
        return False
    return re.fullmatch(targets, name) is not None if isinstance(targets, str) else is_target(name, targets)


def _number(name: str, patterns: Json) -> int | None:
    """The number of a layer's block: the one behind a name that matches a pattern, or behind any name."""
    wanted: Iterator[str] = iter([r".*?\.[^.]*"])
    if patterns:
        names = [patterns] if isinstance(patterns, str) else patterns
        wanted = (rf"(?:^|.*?\.){pattern}" for pattern in names)
    found = (re.match(rf"{pattern}\.(\d+)\.", name) for pattern in wanted)
    return next((int(match[1]) for match in found if match), None)
