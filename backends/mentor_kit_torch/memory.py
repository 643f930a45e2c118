"""Memory that a run would take, estimated from the model's configuration."""

from __future__ import annotations

from typing import Any

import torch

from mentor_kit.backend.folders import untrainable
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
from mentor_kit.backend.student import StudentSpec
from mentor_kit_torch.adapters import adapter_parameters
from mentor_kit_torch.exchange import PassBytes, over_processes
from mentor_kit_torch.flops_counter import attention_shapes, layer_configs
from mentor_kit_torch.fused_llama import FusedLlama
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.quantized import has_bitsandbytes, quantization_of, weight_bytes
from mentor_kit_torch.text_part import freeze_beside_text, made_of


def estimate(
    config: Any, student: StudentSpec, load: MemoryLoad, options: TorchOptions, dtype: torch.dtype
) -> MemoryEstimate:
    """The memory of a run; no weights are loaded, as the model is made on the meta device."""
    model = _outline(config)
    freeze_beside_text(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    how = quantization_of(config, options.quantize)
    if how is not None and student.adapter is None and load.optimizer is not None:
        raise untrainable(student.model)
    weights = weight_bytes(model, how, dtype.itemsize)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    hidden = _hidden_parameters(model)
    if student.adapter is not None:
        trainable = hidden = adapter_parameters(model, student.adapter)
    updated = load.optimizer is not None
    text = config.get_text_config()
    size = dtype.itemsize
    trained = TrainedSize(
        trainable=trainable,
        moments=0 if load.optimizer is None else load.optimizer.moments(trainable, hidden),
        size=size,
        adapted=student.adapter is not None,
    )
    # the model without a new adapter is its reference
    is_bare = student.adapter is not None and student.adapter.path is None
    reference = trainable if load.reference and not is_bare else 0
    # a sequence that is longer than the budget makes a micro-batch of its own
    tokens = (load.train_tokens or max(options.token_budget, load.context)) if updated else 0
    one = load.context * position_bytes(text, size) + _row_bytes(config, dtype)
    held = min(load.sequences, options.slots) * one
    if options.kv_memory is not None:
        held = min(held, int(options.kv_memory * 2**30))
    parts = training_parts(weights, trained, updated=updated, reference=reference) | {
        "keys and values": held,
        "activations": tokens * _kept_bytes(text, size, checkpointing=options.gradient_checkpointing),
    }
    found = MemoryEstimate(
        parameters=parameters,
        trainable=trainable,
        parts=parts,
        notes=(ACTIVATIONS_NOTE,) if updated else (),
    )
    passes = PassBytes.of(model, dtype, adapted=trained.adapted)
    return over_processes(found, options, trained, passes, updated=updated)


def device_memory(device: torch.device) -> DeviceMemory | None:
    """The memory of a device."""
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        return DeviceMemory.of(found.name, found.total_memory)
    if device.type == "mps":
        return DeviceMemory.of("GPU", torch.mps.recommended_max_memory())
    return main_memory()


def savings(
    config: Any, student: StudentSpec, load: MemoryLoad, options: TorchOptions, dtype: torch.dtype
) -> list[Saving]:
    """Options that save memory: recomputing layers is a third more work, with fewer keys and values sequences wait."""
    size = dtype.itemsize
    one = load.context * position_bytes(config.get_text_config(), size) + _row_bytes(config, dtype)
    held = min(load.sequences, options.slots) * one
    if options.kv_memory is not None:
        held = min(held, int(options.kv_memory * GIB))
    found = []
    if load.optimizer is not None:
        budgets = halves(options.token_budget, load.context)
        found.append(Saving(option="token_budget", values=budgets or _exactly(load.context, options.token_budget)))
        if not options.gradient_checkpointing and FusedLlama.fits(getattr(_outline(config), "model", None)):
            found.append(Saving(option="gradient_checkpointing", values=(True,)))
    found.append(Saving(option="kv_memory", values=halves(-(-held // GIB), -(-one // GIB))))
    if size == FLOAT32:
        found.append(Saving(option="dtype", values=("bfloat16",)))
    if student.adapter is not None and quantization_of(config, options.quantize) is None and has_bitsandbytes():
        found.append(Saving(option="quantize", values=(8, 4)))
    return [saving for saving in found if saving.values]


def _exactly(context: int, budget: int) -> tuple[int, ...]:
    """The longest sequence, rounded up to 256 tokens, where that is less than the budget."""
    rounded = -(-context // 256) * 256
    return (rounded,) if rounded < budget else ()


def _outline(config: Any, dtype: torch.dtype | None = None) -> Any:
    """The model without weights."""
    with torch.device("meta"):
        return made_of(config, lambda kind, config: kind.from_config(config, dtype=dtype))


def _row_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of a row's state that are the same whatever its length; 0 where they are not known without weights."""
    from mentor_kit_torch.state_size import row_nbytes

    try:
        model = _outline(config, dtype)
        # in this form which experts run does not hang on what their router computes
        model.set_experts_implementation("batched_mm")
        return row_nbytes(model, config.get_text_config())
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, KeyError):
        return 0


def _hidden_parameters(model: Any) -> int:
    """Parameters that Muon takes: those of matrices that are neither embeddings nor output projection."""
    ends = [layer for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer is not None]
    tables = {id(parameter) for layer in ends for parameter in layer.parameters()}
    return sum(p.numel() for p in model.parameters() if p.ndim == 2 and p.requires_grad and id(p) not in tables)


def position_bytes(config: Any, size: int) -> int:
    """Bytes of one token's keys and values in all layers; 0 where no layer attends."""
    return 2 * sum(keyed * width for _, keyed, width in attention_shapes(config)) * size


def _kept_bytes(config: Any, size: int, *, checkpointing: bool) -> int:
    """Bytes that all layers keep of one token: with checkpointing a state each, and all of the layer recomputed."""
    layers = [_activation_bytes(config, layer, size) for layer in layer_configs(config)]
    if checkpointing:
        return len(layers) * int(config.hidden_size) * size + max(layers)
    return sum(layers)


def _activation_bytes(config: Any, layer: Any, size: int) -> int:
    """Bytes that a layer keeps of one token for the backward pass: about eight states and three of the inner width."""
    inner = getattr(layer, "intermediate_size", None) or 4 * config.hidden_size
    return (8 * int(config.hidden_size) + 3 * int(inner)) * size
