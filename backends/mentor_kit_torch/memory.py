"""What a run would need in memory, from the model's configuration alone."""

from __future__ import annotations

from typing import Any

import torch

from mentor_kit.backend.memory import GIB, DeviceMemory, MemoryEstimate, MemoryLoad, Saving, halves, main_memory
from mentor_kit.backend.student import StudentSpec
from mentor_kit_torch.adapters import adapter_parameters
from mentor_kit_torch.flops_counter import attention_shapes, layer_configs
from mentor_kit_torch.fused_llama import FusedLlama
from mentor_kit_torch.options import TorchOptions

MASTER = 4  # bytes of a float32


def estimate(
    config: Any, student: StudentSpec, load: MemoryLoad, options: TorchOptions, dtype: torch.dtype
) -> MemoryEstimate:
    """Bytes by part; weights are never loaded, the model is laid out on the meta device."""
    model = _outline(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trainable, hidden = parameters, _hidden_parameters(model)
    if student.adapter is not None:
        trainable = hidden = adapter_parameters(model, student.adapter)
    updated = trainable if load.optimizer is not None else 0
    # Muon keeps one number of a hidden matrix's parameter, AdamW two of the others
    one_alone = hidden if load.optimizer is not None and load.optimizer.use == "muon" else 0
    moments = 2 * updated - one_alone
    text = config.get_text_config()
    size = torch.empty((), dtype=dtype).element_size()
    # an adapter is float32 and comes on top; a 16-bit model that is trained itself has float32 masters
    extra = trainable * MASTER if student.adapter is not None else updated * MASTER if size < MASTER else 0
    # a sequence that is longer than the budget makes a micro-batch of its own
    tokens = (load.train_tokens or max(options.token_budget, load.context)) if updated else 0
    held = min(load.sequences, options.slots) * load.context * position_bytes(text, size)
    if options.kv_memory is not None:
        held = min(held, int(options.kv_memory * 2**30))
    parts = {
        "weights": parameters * size + extra,
        "gradients": updated * MASTER,
        "optimizer": moments * MASTER,
        "reference": _reference_bytes(student, trainable, size) if load.reference else 0,
        "keys and values": held,
        "activations": tokens * _kept_bytes(text, size, checkpointing=options.gradient_checkpointing),
    }
    return MemoryEstimate(
        parameters=parameters,
        trainable=trainable,
        parts=parts,
        notes=("activations are an upper estimate, at a full micro-batch of the update",) if updated else (),
    )


def device_memory(device: torch.device) -> DeviceMemory | None:
    """What the device has."""
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        return DeviceMemory.of(found.name, found.total_memory)
    if device.type == "mps":
        return DeviceMemory.of("GPU", torch.mps.recommended_max_memory())
    return main_memory()


def savings(config: Any, load: MemoryLoad, options: TorchOptions, dtype: torch.dtype) -> list[Saving]:
    """Running layers again is a third more work; with less for keys and values fewer sequences are sampled at once."""
    size = torch.empty((), dtype=dtype).element_size()
    one = load.context * position_bytes(config.get_text_config(), size)
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
    if size == MASTER:
        found.append(Saving(option="dtype", values=("bfloat16",)))
    return [saving for saving in found if saving.values]


def _exactly(context: int, budget: int) -> tuple[int, ...]:
    """The longest sequence, in steps of 256 tokens, where that is less than the budget."""
    rounded = -(-context // 256) * 256
    return (rounded,) if rounded < budget else ()


def _outline(config: Any) -> Any:
    """The model without weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _hidden_parameters(model: Any) -> int:
    """Parameters of matrices that are no tables of tokens: those that Muon is for."""
    ends = [layer for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer is not None]
    tables = {id(parameter) for layer in ends for parameter in layer.parameters()}
    return sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in tables)


def _reference_bytes(student: StudentSpec, trainable: int, size: int) -> int:
    """A copy of what is trained; none where the model without its new adapter is the reference."""
    if student.adapter is None:
        return trainable * size
    return 0 if student.adapter.path is None else trainable * MASTER


def position_bytes(config: Any, size: int) -> int:
    """Keys and values of one token; none where no layer attends."""
    return 2 * sum(keyed * width for _, keyed, width in attention_shapes(config)) * size


def _kept_bytes(config: Any, size: int, *, checkpointing: bool) -> int:
    """What all layers keep of one token: with checkpointing a state each, and all of one layer that is run again."""
    layers = [_activation_bytes(config, layer, size) for layer in layer_configs(config)]
    if checkpointing:
        return len(layers) * int(config.hidden_size) * size + max(layers)
    return sum(layers)


def _activation_bytes(config: Any, layer: Any, size: int) -> int:
    """What one layer keeps of one token for the backward pass: about eight states and three of the inner width."""
    inner = getattr(layer, "intermediate_size", None) or 4 * config.hidden_size
    return (8 * int(config.hidden_size) + 3 * int(inner)) * size
