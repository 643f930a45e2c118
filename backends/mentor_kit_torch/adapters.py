"""Adapters of peft: on a model, merged into it for export, and counted before anything is loaded."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from mentor_kit.backend.adapters import (
    ADAPTER_CONFIG,
    LORA_KEYS,
    check_peft_config,
    check_targets,
    is_target,
    misfit,
    read_adapter_config,
)
from mentor_kit.backend.folders import first_line
from mentor_kit.backend.peft_limits import peft_limit, without_effect
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit_torch.quantized import in_main_memory, is_quantized, plain_copy
from mentor_kit_torch.text_part import beside_text, unfit_for_adapters

#: Classes of layers that can have a low-rank adapter of peft.
ADAPTABLE = ("Linear", "Embedding", "Conv1D", "Conv2d", "Conv1d", "Conv3d", "MultiheadAttention")
WEIGHTS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
#: Keys of an adapter's configuration that peft reads for this backend.
UNDERSTOOD = LORA_KEYS | {"modules_to_save", "target_parameters", "trainable_token_indices"}
#: What peft raises where an adapter and a model do not fit.
UNFIT = (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError, SafetensorError, re.error)


def add_adapter(model: Any, adapter: AdapterSpec, seed: int) -> Any:
    """The model with a new adapter, or one from a folder; only the adapter is trainable.

    Raises:
        MissingError: the adapter's folder is not there.
        BackendError: the adapter does not fit the model, or a target matches no layer.
    """
    from peft import PeftModel

    if adapter.path is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return _new(model, adapter).eval()
    _check_config(adapter.path)
    try:
        with quiet():
            adapted = PeftModel.from_pretrained(model, str(adapter.path), is_trainable=True).eval()
    except UNFIT as error:
        raise misfit(adapter.path, first_line(error)) from error
    _check_weights(adapted, adapter.path)
    _check_effect(adapted, adapter.path)
    return adapted


def adapter_parameters(model: Any, adapter: AdapterSpec) -> int:
    """The number of parameters that an adapter trains, found by peft on a model without weights, which is changed.

    Raises:
        MissingError: the adapter's folder is not there.
        BackendError: the adapter does not fit the model, or a target matches no layer.
    """
    from peft import LoraConfig, get_peft_model

    if adapter.path is None:
        adapted = _new(model, adapter, init_lora_weights=False)
    else:
        _check_config(adapter.path)
        try:
            with quiet():
                config = LoraConfig.from_pretrained(str(adapter.path))
                config.init_lora_weights, config.inference_mode = False, False
                adapted = get_peft_model(model, config)
        except UNFIT as error:
            raise misfit(adapter.path, first_line(error)) from error
        _check_weights(adapted, adapter.path)
    return sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)


def _new(model: Any, adapter: AdapterSpec, **more: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    _check_targets(model, adapter.targets)
    left_out = [*beside_text(model), *([] if adapter.targets else unfit_for_adapters(model))]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets) or "all-linear",
        exclude_modules=rf"({'|'.join(map(re.escape, left_out))})(\..*)?" if left_out else None,
        **more,
    )
    try:
        with quiet():
            return get_peft_model(model, config)
    except ValueError as error:
        raise BackendError(f"student.adapter: {error}", hint="set `targets` to names of linear layers") from error


def _check_targets(model: Any, targets: Sequence[str]) -> None:
    """Refuse a target that matches no layer, as peft silently adapts the others, and one where peft has no adapter."""
    kinds = {name: type(module).__name__ for name, module in model.named_modules() if name}
    layers = [name for name, kind in kinds.items() if kind in ADAPTABLE]
    check_targets(targets, layers, {name: kind for name, kind in kinds.items() if kind not in ADAPTABLE})
    kind = model.config.get_text_config().model_type
    for layer in layers:
        if is_target(layer, targets) and (limit := peft_limit(kind, layer)) is not None:
            raise BackendError(
                f"student.adapter.targets: peft has no adapter on {layer} of {kind!r}, {limit}",
                hint="leave it out, or leave `targets` out: then every linear layer is adapted where peft can",
            )


def merged(model: Any) -> Any:
    """A copy of the model in main memory, with its adapter merged into its weights, which are plain ones.

    Where the adapter is on tied embeddings or output projection, the copy is untied, in its configuration too: one
    matrix could not hold what was trained.
    """
    twin = plain_copy(model) if is_quantized(model) else _copy(model)
    inner = twin.get_base_model()
    ends = [layer for layer in (inner.get_input_embeddings(), inner.get_output_embeddings()) if layer is not None]
    plain = [getattr(layer, "base_layer", layer) for layer in ends]
    if len({id(layer.weight) for layer in plain}) < len(plain) and any(map(_is_adapted, ends)):
        plain[-1].weight = nn.Parameter(plain[-1].weight.detach().clone(), requires_grad=False)
    with quiet():
        whole = twin.merge_and_unload()
    output = whole.get_output_embeddings()
    if output is not None and whole.get_input_embeddings().weight is not output.weight:
        for config in (whole.config, whole.config.get_text_config()):
            config.tie_word_embeddings = False
    return whole


def _copy(model: Any) -> Any:
    """A copy of a model in main memory: a device that holds the model has often no room for another.

    States that its last pass left in its modules (RecurrentGemma's) lose the way back: none is copied with it.
    """
    left = [value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)]
    copied: dict[int, Any] = {id(value): value.detach() for value in left if not value.is_leaf}
    copied |= {id(value): in_main_memory(value) for value in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, copied)


def dropouts(model: Any) -> list[Any]:
    """The dropout of the adapted layers."""
    return [module for name, module in model.named_modules() if name.endswith("lora_dropout")]


def _check_config(folder: Path) -> None:
    config = read_adapter_config(folder)
    if "peft_type" not in config:
        other = "an adapter of mlx-lm" if "lora_parameters" in config else "none of peft's"
        raise BackendError(
            f"student.adapter: {folder} is {other}: its {ADAPTER_CONFIG} has no `peft_type`",
            hint="the torch backend reads adapters of peft; the MLX backend writes them with the format `adapter`",
        )
    check_peft_config(config, folder, UNDERSTOOD)


def _check_weights(adapted: Any, folder: Path) -> None:
    """Refuse a file that lacks weights of its configuration, or has others: peft warns at most.

    Raises:
        MissingError: there is no such file.
        BackendError: naming a weight.
    """
    from peft import get_peft_model_state_dict

    trained = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    saved = _saved_shapes(folder)
    if lacking := sorted({_current_name(name) for name in trained} - saved.keys()):
        raise misfit(folder, f"there are no weights of {lacking[0]}, which {ADAPTER_CONFIG} includes")
    # embeddings with an adapter come with their own weights
    names = [name.replace(".default", "") for name, _ in adapted.named_parameters(remove_duplicate=False)]
    known = {_current_name(name) for name in (*trained, *names, *(name.replace(".base_layer", "") for name in names))}
    if surplus := sorted(saved.keys() - known):
        raise misfit(folder, f"there are weights of {surplus[0]}, which {ADAPTER_CONFIG} does not include")
    for name, value in trained.items():
        if (found := saved[_current_name(name)]) != tuple(value.shape):
            raise misfit(folder, f"{name} has the shape {found}, and {tuple(value.shape)} by {ADAPTER_CONFIG}")


def _check_effect(adapted: Any, folder: Path) -> None:
    """Refuse what was trained on a layer where peft does not add it."""
    kind = adapted.config.get_text_config().model_type
    for name, value in adapted.named_parameters():
        layer, _, matrix = name.partition(".lora_B.")
        if matrix and (limit := peft_limit(kind, layer)) is not None and value.any():
            raise without_effect(folder, layer.removeprefix("base_model.model."), limit)


def _current_name(name: str) -> str:
    """A weight's name in today's peft."""
    return name.removesuffix(".weight") if name.endswith("lora_magnitude_vector.weight") else name


def _saved_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    file = folder / WEIGHTS
    try:
        if file.is_file():
            with safe_open(file, framework="pt") as opened:
                names = opened.keys()
                return {_current_name(name): tuple(opened.get_slice(name).get_shape()) for name in names}
        if (folder / PICKLED).is_file():
            found = torch.load(folder / PICKLED, weights_only=True, map_location="meta")
            return {_current_name(name): tuple(value.shape) for name, value in found.items()}
    except (*UNFIT, UnpicklingError, AttributeError) as error:
        raise BackendError(f"student.adapter: {folder}: its weights cannot be read: {first_line(error)}") from error
    raise MissingError(f"student.adapter: {folder} has no {WEIGHTS}", hint="name a folder that peft has written")


def _is_adapted(layer: Any) -> bool:
    """Whether a layer has an adapter, or is itself trained beside one (peft's `modules_to_save`)."""
    return type(layer).__module__.startswith("peft.")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence peft's warnings of deprecated names, and of tied embeddings, which are handled here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
