"""Memory that a run would take, estimated from the model's configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mentor_kit.backend.folders import untrainable
from mentor_kit.backend.memory import (
    GIB,
    DeviceMemory,
    MemoryEstimate,
    MemoryLoad,
    Saving,
    TrainedSize,
    available_memory,
    main_memory,
    training_parts,
)
from mentor_kit.backend.memory_plan import Footprint, Wanted, planned_estimate
from mentor_kit.backend.optimizer import FLOAT32
from mentor_kit.backend.student import StudentSpec
from mentor_kit_torch.adapters import adapter_parameters
from mentor_kit_torch.chunked_logprobs import first_halvings, logits_bytes
from mentor_kit_torch.exchange import PassBytes, over_processes
from mentor_kit_torch.flops_counter import attention_shapes, layer_configs
from mentor_kit_torch.fused_llama import FusedLlama
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.quantized import has_bitsandbytes, quantization_of, weight_bytes
from mentor_kit_torch.text_part import freeze_beside_text, made_of

#: Arrays of the size of the logits, where tokens are drawn from them.
DRAWN = 6


def allowed_bytes(device: torch.device, options: TorchOptions) -> int | None:
    """Bytes that a run may take, as found before its model is loaded; None where nothing is known."""
    return usable_bytes(device) if options.memory is None else int(options.memory * GIB)


def usable_bytes(device: torch.device) -> int | None:
    """Bytes of a device that may be taken now; None where nothing is known.

    On CUDA nine tenths of what is free, in quarters of a GiB, so that small differences do not change a run.
    """
    if device.type == "cuda":
        if (device.index or 0) >= torch.cuda.device_count():
            return None
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * 9 // 10 // (GIB // 4) * (GIB // 4))
    if device.type not in ("cpu", "mps"):
        return None
    found = available_memory() if device.type == "cpu" else device_memory(device)
    return None if found is None else found.usable


def held_bytes(model: Any, trained: TrainedSize, moments: int, reference: int) -> int:
    """Bytes of the weights that are loaded, and of the masters that go with them, beside moments and reference."""
    weights: int = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    masters = 0 if trained.adapted or trained.size >= FLOAT32 or not moments else trained.trainable
    return weights + FLOAT32 * masters + moments + reference


def footprint(
    config: Any,
    *,
    held: int,
    trained: TrainedSize,
    row: int,
    sharing: str,
    device: torch.device,
    recomputes: bool = True,
) -> Footprint:
    """Bytes that a policy takes, by what they grow with.

    Args:
        config: of the model's text part.
        held: bytes of weights, masters, moments and reference.
        trained: the parameters that are trained.
        row: bytes of a row's state of fixed size.
        sharing: how an update shares prompts (`mentor_kit_torch.update.Sharing`).
        device: that it is on; on a CPU its attention is fused whatever it shares.
        recomputes: whether its layers can be computed again in the backward pass.
    """
    size, vocabulary, hidden = trained.size, int(config.vocab_size), int(config.hidden_size)
    wide = trained.adapted and size < FLOAT32
    layers = [_activation_bytes(config, layer, size, wide) for layer in layer_configs(config)]
    position = position_bytes(config, size)
    heads = max((heads for heads, _, _ in attention_shapes(config)), default=0)
    is_tree = sharing == "tree"
    # added up in float32, beside a chunk's or the whole in the weights' own type
    head_gradient = 0 if trained.adapted else (FLOAT32 + size) * vocabulary * hidden
    return Footprint(
        held=held,
        gradients=trained.trainable * FLOAT32,
        position=position,
        row=row,
        kept=sum(layers),
        recomputed=len(layers) * hidden * size + 2 * max(layers) if recomputes and is_tree else None,
        copied=position if sharing == "prompts" else 0,
        # a tree's attention is computed in blocks, and again in the backward pass
        pair=0 if is_tree or device.type == "cpu" else 2 * FLOAT32 * heads * len(layers),
        logits=logits_bytes(first_halvings(device, trained=not trained.adapted)),
        smallest_logits=logits_bytes(8),
        beside_logits=head_gradient,
        drawn=DRAWN * FLOAT32 * vocabulary,
        passed=2 * max(layers),
        layers=max(len(layers), 1),
    )


def wanted_of(options: TorchOptions, *, slots: int, context: int, tokens: int = 0) -> Wanted:
    """What options ask of the memory."""
    return Wanted(
        slots,
        context,
        tokens or options.usual_budget,
        finds_budget=not tokens and options.token_budget == "auto",
        checkpointing=options.gradient_checkpointing,
        kv_memory=None if options.kv_memory is None else int(options.kv_memory * GIB),
    )


def estimate(
    config: Any,
    student: StudentSpec,
    load: MemoryLoad,
    options: TorchOptions,
    dtype: torch.dtype,
    device: torch.device,
    allowed: int | None = None,
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
    hidden = hidden_parameters(model)
    if student.adapter is not None:
        trainable = hidden = adapter_parameters(model, student.adapter)
    updated = load.optimizer is not None
    text = config.get_text_config()
    size = dtype.itemsize
    trained = TrainedSize(
        trainable=trainable,
        moments=0 if load.optimizer is None else load.optimizer.moment_bytes(trainable, hidden),
        size=size,
        adapted=student.adapter is not None,
    )
    # the model without a new adapter is its reference
    is_bare = student.adapter is not None and student.adapter.path is None
    reference = trainable if load.reference and not is_bare else 0
    whole = training_parts(weights, trained, updated=updated, reference=reference)
    own = MemoryEstimate(parameters=parameters, trainable=trainable, parts=whole | {"keys and values": 0})
    passes = PassBytes.of(model, dtype, adapted=trained.adapted)
    own = over_processes(own, options, trained, passes, updated=updated, sampled=load.sequences > 0)
    parts = {part: size for part, size in own.parts.items() if part != "keys and values"}
    is_llama = FusedLlama.fits(getattr(model, "model", None))
    size_of = footprint(
        text,
        held=sum(parts.values()) - parts["gradients"],
        trained=replace(trained, trainable=parts["gradients"] // FLOAT32),
        row=_row_bytes(config, dtype),
        sharing="tree" if is_llama else "prompts",
        device=device,
        recomputes=is_llama,
    )
    if options.shard and own.processes > 1:
        allowed = None  # such a run is held to no limit
    slots = min(-(-load.sequences // own.processes), options.slots)
    wanted = wanted_of(options, slots=slots, context=load.context, tokens=load.train_tokens)
    found = planned_estimate(size_of, wanted, load, allowed, parts, (parameters, trainable))
    return found.model_copy(update={"processes": own.processes, "exchanged": own.exchanged})


def device_memory(device: torch.device) -> DeviceMemory | None:
    """The memory of a device."""
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return None
        found = torch.cuda.get_device_properties(device)
        return DeviceMemory.of(found.name, found.total_memory)
    if device.type == "mps":
        return DeviceMemory.of("GPU", torch.mps.recommended_max_memory())
    return main_memory()


def savings(config: Any, student: StudentSpec, options: TorchOptions, dtype: torch.dtype) -> list[Saving]:
    """Options that save memory where everything is as small as it gets by itself."""
    found = []
    if options.gradient_checkpointing is False and FusedLlama.fits(getattr(_outline(config), "model", None)):
        found.append(Saving(option="gradient_checkpointing", values=(True,)))
    if dtype.itemsize == FLOAT32:
        found.append(Saving(option="dtype", values=("bfloat16",)))
    if student.adapter is not None and quantization_of(config, options.quantize) is None and has_bitsandbytes():
        found.append(Saving(option="quantize", values=(8, 4)))
    return found


def _outline(config: Any, dtype: torch.dtype | None = None) -> Any:
    """The model without weights."""
    with torch.device("meta"):
        return made_of(config, lambda kind: kind.from_config(config, dtype=dtype))


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


def hidden_parameters(model: Any) -> int:
    """Parameters that Muon takes: those of matrices that are neither embeddings nor output projection."""
    ends = [layer for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer is not None]
    tables = {id(parameter) for layer in ends for parameter in layer.parameters()}
    return sum(p.numel() for p in model.parameters() if p.ndim == 2 and p.requires_grad and id(p) not in tables)


def position_bytes(config: Any, size: int) -> int:
    """Bytes of one token's keys and values in all layers; 0 where no layer attends."""
    return 2 * sum(keyed * width for _, keyed, width in attention_shapes(config)) * size


def _activation_bytes(config: Any, layer: Any, size: int, wide: bool) -> int:
    """Bytes that a layer keeps of one token for the backward pass: about eight states and three of the inner width.

    Where it is `wide`, an adapter in float32 on a model in 16 bits, each adapted product keeps its input in float32.
    """
    inner = getattr(layer, "intermediate_size", None) or 4 * config.hidden_size
    # Gemma 3n has a width for each layer
    widest = max(inner) if isinstance(inner, list | tuple) else inner
    hidden = int(config.hidden_size)
    return (8 * hidden + 3 * int(widest)) * size + wide * FLOAT32 * (6 * hidden + int(widest))
