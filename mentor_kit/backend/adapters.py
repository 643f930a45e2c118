"""Adapters, whatever the device: their targets, the configuration that peft writes, and dropout in updates."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mentor_kit.core.errors import BackendError, MissingError, did_you_mean
from mentor_kit.core.frozen_model import Json

ADAPTER_CONFIG = "adapter_config.json"
#: Keys of peft's adapter_config.json that decide what LoRA computes; backends read them as peft does.
LORA_KEYS = frozenset(
    (
        "alpha_pattern",
        "bias",
        "exclude_modules",
        "fan_in_fan_out",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "r",
        "rank_pattern",
        "target_modules",
        "use_dora",
        "use_rslora",
    )
)
#: Keys of peft's adapter_config.json that do not change what an adapter computes, or do so only beside another key.
DESCRIPTIVE = frozenset(
    (
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "inference_mode",
        "loftq_config",
        "lora_ga_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
    )
)


def is_target(name: str, targets: Sequence[str]) -> bool:
    """Whether a module's full name is one of the targets or ends with one, as in peft."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def check_targets(targets: Sequence[str], layers: Iterable[str], others: Mapping[str, str]) -> None:
    """Refuse a target that matches no layer, also beside targets that do.

    Args:
        targets: of an adapter.
        layers: full names of the modules that can be adapted.
        others: the kind of every other module, by its full name.

    Raises:
        BackendError: naming the target and the layers there are.
    """
    fitting = list(layers)
    known = sorted({name.rpartition(".")[2] for name in fitting})
    for target in targets:
        if any(is_target(name, (target,)) for name in fitting):
            continue
        kind = next((kind for name, kind in others.items() if is_target(name, (target,))), None)
        close = did_you_mean(target, fitting if "." in target else known)
        wrong = f"no layer is called {target!r}" if kind is None else f"{target!r} is a {kind}"
        raise BackendError(
            f"student.adapter.targets: {wrong}{close}",
            hint=f"layers that can be adapted: {', '.join(known)}",
        )


def read_adapter_config(folder: Path) -> dict[str, Json]:
    """The configuration in an adapter's folder.

    Raises:
        MissingError: there is no such file.
        BackendError: it cannot be read, or is no JSON object.
    """
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        raise MissingError(
            f"student.adapter: {folder} has no {ADAPTER_CONFIG}",
            hint="name a folder that peft, mlx-lm or `mentorkit export --format adapter` has written",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackendError(f"student.adapter: {file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BackendError(f"student.adapter: {file} is no adapter's configuration: it holds no object")
    return config


def check_peft_config(config: Mapping[str, Json], folder: Path, understood: Collection[str]) -> None:
    """Refuse an adapter whose configuration the backend would not read as peft does.

    Args:
        config: of the adapter.
        folder: for messages.
        understood: the keys that are read as peft reads them; others may only be empty or descriptive.

    Raises:
        BackendError: naming the key.
    """
    if str(config.get("peft_type")).upper() != "LORA":
        raise unsupported(folder, "peft_type", config.get("peft_type"))
    for key, value in config.items():
        # an empty configuration of a variant still asks for the variant, by its defaults
        is_empty = value in (None, False, []) or (value == {} and not key.endswith("_config"))
        if key not in understood and key not in DESCRIPTIVE and not is_empty:
            raise unsupported(folder, key, value)


def unsupported(folder: Path, key: str, value: Json) -> BackendError:
    """The error for a key of an adapter's configuration that the backend does not read as peft does."""
    shown = json.dumps(value)
    shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
    return BackendError(
        f"student.adapter: {folder / ADAPTER_CONFIG}: `{key}: {shown}` is not supported here",
        hint="merge the adapter into its model by peft's `merge_and_unload`, and train on from that",
    )


def misfit(folder: Path, why: str) -> BackendError:
    """The error for an adapter and a model that do not belong together."""
    return BackendError(
        f"student.adapter: {folder} does not fit the model: {why}",
        hint="use the model that the adapter was trained on",
    )


@contextmanager
def training(modules: Iterable[Any]) -> Iterator[None]:
    """Switch modules to training, and back: in updates an adapter's own dropout is active.

    The model's own dropout never is, as it is not active in sampling either.
    """
    found = list(modules)
    try:
        for module in found:
            module.train()
        yield
    finally:
        for module in found:
            module.eval()
