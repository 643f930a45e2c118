"""Adapters of peft: put on a model, merged into it for export, and counted before anything is loaded."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from mentor_kit.errors import BackendError, MissingError, did_you_mean
from mentor_kit.policy import AdapterSpec
from mentor_kit_torch.loading import first_line

#: Layers that a low-rank adapter of peft takes.
ADAPTABLE = ("Linear", "Embedding", "Conv1D", "Conv2d", "Conv1d", "Conv3d", "MultiheadAttention")
WEIGHTS = "adapter_model.safetensors"


def add_adapter(model: Any, adapter: AdapterSpec, seed: int) -> Any:
    """The model with a new adapter, or one from a folder; only the adapter is trainable.

    Raises:
        MissingError: the adapter's folder is not there.
        BackendError: the adapter does not fit the model, or a target is no layer of it.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    if adapter.path is not None:
        _check_folder(adapter.path)
        try:
            with _quiet():
                return PeftModel.from_pretrained(model, str(adapter.path), is_trainable=True).eval()
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BackendError(
                f"student.adapter: {adapter.path} does not fit the model: {first_line(error)}",
                hint="use the model that the adapter was trained on",
            ) from error
    check_targets(model, adapter.targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets) or "all-linear",
    )
    with torch.random.fork_rng(), _quiet():
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, config).eval()
        except ValueError as error:
            raise BackendError(f"student.adapter: {error}", hint="set `targets` to names of linear layers") from error


def check_targets(model: Any, targets: Sequence[str]) -> None:
    """Refuse a target that no layer has: peft takes the others and says nothing of it.

    Raises:
        BackendError: naming the target and the layers there are.
    """
    names = {name: type(module).__name__ for name, module in model.named_modules()}
    fitting = [name for name, kind in names.items() if kind in ADAPTABLE]
    known = sorted({name.rpartition(".")[2] for name in fitting})
    for target in targets:
        found = [name for name in names if is_meant(name, (target,))]
        if not any(name in fitting for name in found):
            kind = f"{target!r} is a {names[found[0]]}" if found else f"no layer is called {target!r}"
            raise BackendError(
                f"student.adapter.targets: {kind}{did_you_mean(target, known)}",
                hint=f"layers that can be adapted: {', '.join(known)}",
            )


def is_meant(name: str, targets: Sequence[str]) -> bool:
    """Whether a layer's full name is one of the targets, or ends with one, as peft has it; all are where none is."""
    return not targets or any(name == target or name.endswith(f".{target}") for target in targets)


def merged(model: Any) -> Any:
    """A copy of the model with its adapter in its weights.

    Where the adapter is on embeddings or output projection that share their weights, the copy has two matrices, and
    says so in its configuration: one alone could not hold what was trained.
    """
    twin = copy.deepcopy(model)
    inner = twin.get_base_model()
    ends = [layer for layer in (inner.get_input_embeddings(), inner.get_output_embeddings()) if layer is not None]
    plain = [getattr(layer, "base_layer", layer) for layer in ends]
    if len({id(layer.weight) for layer in plain}) < len(plain) and any(map(_is_adapted, ends)):
        plain[-1].weight = nn.Parameter(plain[-1].weight.detach().clone(), requires_grad=False)
    whole = twin.merge_and_unload()
    output = whole.get_output_embeddings()
    if output is not None and whole.get_input_embeddings().weight is not output.weight:
        for config in (whole.config, whole.config.get_text_config()):
            config.tie_word_embeddings = False
    return whole


def adapter_parameters(model: Any, adapter: AdapterSpec) -> int:
    """How many an adapter trains: those of its file, or a low-rank pair for every layer that it would be put on.

    Raises:
        MissingError: the adapter's folder is not there.
        BackendError: its weights cannot be read.
    """
    if adapter.path is not None:
        return _saved_parameters(adapter.path)
    check_targets(model, adapter.targets)
    output = model.get_output_embeddings()
    return sum(
        adapter.rank * sum(module.weight.shape[:2])
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
        and is_meant(name, adapter.targets)
        and (adapter.targets or (isinstance(module, nn.Linear) and module is not output))
    )


def _saved_parameters(folder: Path) -> int:
    _check_folder(folder)
    if not (folder / WEIGHTS).is_file():
        raise MissingError(f"student.adapter: {folder} has no {WEIGHTS}", hint="name a folder that peft has written")
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise BackendError(f"student.adapter: {folder / WEIGHTS} cannot be read: {first_line(error)}") from error


def _check_folder(folder: Path) -> None:
    """Raises `MissingError` where there is no adapter of peft, and `BackendError` where it is another program's."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise MissingError(
            f"student.adapter: {folder} has no adapter_config.json",
            hint="name a folder that peft or `mentorkit export --format adapter` has written",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackendError(f"student.adapter: {file} cannot be read: {first_line(error)}") from error
    if not isinstance(config, dict) or "peft_type" not in config:
        other = "an adapter of mlx-lm" if isinstance(config, dict) and "lora_parameters" in config else "none of peft's"
        raise BackendError(
            f"student.adapter: {folder} is {other}: its adapter_config.json has no `peft_type`",
            hint="the torch backend reads adapters of peft; the MLX backend writes them with the format `adapter`",
        )


def _is_adapted(layer: Any) -> bool:
    """Whether a layer has an adapter on it, or is trained itself beside one (peft's `modules_to_save`)."""
    return type(layer).__module__.startswith("peft.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without peft's warnings that it asks transformers by names that are on their way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
