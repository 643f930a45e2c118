"""Memory that a run takes, estimated from the model's configuration, and the limit it is held to."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mentor_kit.backend.folders import untrainable
from mentor_kit.backend.kv_budget import KVBudget
from mentor_kit.backend.memory import (
    ACTIVATIONS_NOTE,
    FLOAT32,
    GIB,
    DeviceMemory,
    MemoryEstimate,
    MemoryLoad,
    Saving,
    TrainedSize,
    halves,
    main_memory,
    training_parts,
)
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.config import Config, folder_of
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.optimizer import moment_count
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.params import by_name, freeze_buffers, is_quantized, parameter_count, trained
from mentor_kit_mlx.state_size import StateSize, state_size

#: The option that limits the memory.
OPTION = "backend.memory"


def limit(options: MLXOptions) -> int | None:
    """Bytes that a run may take; None for no limit."""
    if options.memory is not None:
        return int(options.memory * GIB)
    if mx.default_device().type == mx.cpu:
        return None
    recommended = mx.device_info().get("max_recommended_working_set_size")
    return int(recommended) if recommended else None


def device_memory(options: MLXOptions) -> DeviceMemory | None:
    """The memory that a run may take."""
    allowed = limit(options)
    return main_memory() if allowed is None else DeviceMemory(device="MLX", bytes=allowed, usable=allowed)


def savings(config: Config, student: StudentSpec, load: MemoryLoad, options: MLXOptions) -> list[Saving]:
    """Options that save memory: recomputing layers is a third more work, fewer slots wait longer, fewer bits round."""
    found = []
    if load.optimizer is not None:
        found.append(Saving(option="token_budget", values=halves(options.token_budget, load.context)))
        if options.gradient_checkpointing is not True:
            found.append(Saving(option="gradient_checkpointing", values=(True,)))
    found.append(Saving(option="slots", values=halves(min(options.slots, load.sequences), 1)))
    if student.adapter is not None and options.quantize is None and config.get("quantization") is None:
        found.append(Saving(option="quantize", values=(8, 4)))
    return [saving for saving in found if saving.values]


def kv_budget(model: Any, state: StateSize, allowed: int | None, optimizer: OptimizerSpec | None) -> KVBudget:
    """The budget of keys and values: what weights, gradients and optimizer leave of the memory that is allowed."""
    if allowed is None:
        return KVBudget(None, state.position, OPTION, state.row)
    # what an untied output projection shares with the embeddings is there once
    held = sum({id(value): value.nbytes for value in by_name(model.parameters()).values()}.values())
    gradients = 0 if optimizer is None else sum(value.size for value in trained(model).values())
    left = allowed - held - FLOAT32 * (gradients + moment_count(model, optimizer))
    return KVBudget(max(left, 0), state.position, OPTION, state.row)


def estimate(
    config: Config, student: StudentSpec, load: MemoryLoad, options: MLXOptions, allowed: int | None
) -> MemoryEstimate:
    """The memory of a run; no weights are loaded, as MLX computes no array before it is needed.

    Raises:
        BackendError: mlx-lm has no such model.
    """
    from mentor_kit_mlx.adapters import adapter_parameters
    from mentor_kit_mlx.loading import pick_dtype, quantize, quantize_as
    from mentor_kit_mlx.peft_layers import PeftLayers
    from mentor_kit_mlx.transformers_config import transformers_kind

    model = _outline(config)
    bits = config.get("quantization")
    if bits is None and options.quantize is not None:
        config = quantize(model, config, options.quantize)
    elif bits is not None:
        quantize_as(model, bits, folder_of(student))
    if load.optimizer is not None and student.adapter is None and is_quantized(model):
        raise untrainable(student.model)
    dtype = pick_dtype(options) or getattr(mx, str(config.get("torch_dtype") or config.get("dtype") or "bfloat16"))
    size = dtype.size
    leaves = list(by_name(model.parameters()).values())
    weights = sum(value.size * size if mx.issubdtype(value.dtype, mx.floating) else value.nbytes for value in leaves)
    parameters = parameter_count(model)
    freeze_buffers(model)
    trainable = sum(value.size for value in trained(model).values())
    moments = moment_count(model, load.optimizer)
    if student.adapter is not None:
        trainable = adapter_parameters(
            model, student.adapter, options.adapter, PeftLayers(transformers_kind(config, config))
        )
        moments = 0 if load.optimizer is None else load.optimizer.moments(trainable, trainable)
    updated = load.optimizer is not None
    learned = TrainedSize(trainable=trainable, moments=moments, size=size, adapted=student.adapter is not None)
    reference = trainable if load.reference else 0
    # a sequence that is longer than the budget makes a micro-batch of its own
    tokens = (load.train_tokens or max(options.token_budget, load.context)) if updated else 0
    parts = training_parts(weights, learned, updated=updated, reference=reference)
    fixed = sum(parts.values())
    model.set_dtype(dtype)
    position = state_size(model).position
    parts["keys and values"] = min(load.sequences, options.slots) * state_size(model, options.quantized).bytes(
        load.context
    )
    checkpointed = options.gradient_checkpointing is True
    if options.gradient_checkpointing == "auto" and allowed is not None:
        kept = activation_bytes(config, tokens, size, position, checkpointed=False)
        checkpointed = wants_checkpointing(kept, allowed - fixed)
    parts["activations"] = activation_bytes(config, tokens, size, position, checkpointed=checkpointed)
    notes = [ACTIVATIONS_NOTE] if updated else []
    if checkpointed and updated:
        notes.append("layers are recomputed in the backward pass (`backend.gradient_checkpointing`)")
    if allowed is not None:
        notes.append(_verdict(sum(parts.values()), fixed, allowed))
    return MemoryEstimate(parameters=parameters, trainable=trainable, parts=parts, notes=tuple(notes))


def activation_bytes(config: Config, tokens: int, size: int, position: int, *, checkpointed: bool) -> int:
    """Bytes that the layers keep of so many tokens for the backward pass, at most.

    A layer keeps about eight states and three of the inner width of each token. A checkpointed one keeps its input and
    its keys and values, and one layer at a time is recomputed.

    Args:
        config: of the model.
        tokens: of a micro-batch.
        size: bytes of a number.
        position: bytes of a token's keys and values in all layers.
        checkpointed: whether layers are recomputed.
    """
    text = config.get("text_config") or config
    kinds = text.get("hybrid_override_pattern") or text.get("layers_block_type") or ()
    layers, hidden = int(text.get("num_hidden_layers") or len(kinds)), int(text["hidden_size"])
    inner = text.get("intermediate_size") or 4 * hidden
    inner = max(inner) if isinstance(inner, list) else int(inner)
    layer = (8 * hidden + 3 * inner) * size
    kept = layers * hidden * size + position + layer if checkpointed else layers * layer
    return tokens * kept


def wants_checkpointing(activations: int, left: int) -> bool:
    """Whether the activations are too much for the memory that weights, gradients and optimizer leave.

    Half of it is for keys and values.
    """
    return activations > left // 2


def in_gib(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / GIB:.2f} GiB"


def _verdict(total: int, fixed: int, allowed: int) -> str:
    if total <= allowed:
        return f"it fits into the {in_gib(allowed)} that it may take"
    if fixed > allowed:
        return f"it cannot fit: weights and optimizer alone need {in_gib(fixed)}, and it may take {in_gib(allowed)}"
    return f"it may take {in_gib(allowed)}: fewer sequences are sampled at once; lower `backend.token_budget`"


def _outline(config: Config) -> Any:
    """The model with random weights, none of which is ever computed."""
    try:
        model_class, arguments = mlx_lm("utils")._get_classes(config)
        return model_class(arguments.from_dict(config))
    except (ValueError, TypeError, KeyError) as error:
        raise BackendError(
            f"mlx-lm has no model for this configuration: {error}", hint="take another model, or `backend: torch`"
        ) from error
