"""Memory that a run takes, estimated from the model's configuration, and the limit it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

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
from mentor_kit.backend.optimizer import FLOAT32, OptimizerSpec
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.chunked_logprobs import logits_bytes
from mentor_kit_mlx.config import Config, folder_of
from mentor_kit_mlx.config_words import text_level
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.optimizer import moment_bytes
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.params import by_name, freeze_buffers, is_quantized, parameter_count, trained
from mentor_kit_mlx.state_size import StateSize, state_size

#: The option that limits the memory.
OPTION = "backend.memory"
#: Layers whose arrays of a pass exist at a time, with those of operations that MLX has queued.
LAYERS_AT_ONCE = 3
#: Arrays of the size of the scores of attention, in a layer's backward pass.
SCORES = 4
#: Keys that a query is taken to have in a pass of sampling, at most.
LONGEST_SCORES = 2048
#: Arrays of the size of the logits, where tokens are drawn from them.
DRAWN = 6
#: Completions that have trained tokens in a micro-batch, where logits are not in chunks.
GROUP = 16


def limit(options: MLXOptions) -> int | None:
    """Bytes that a run may take; None for no limit."""
    if options.memory is not None:
        return int(options.memory * GIB)
    if mx.default_device().type == mx.cpu:
        found = available_memory()
        return None if found is None else found.usable
    recommended = mx.device_info().get("max_recommended_working_set_size")
    return int(recommended) if recommended else None


def process_limit(limits: Sequence[int], recommended: int | None) -> int:
    """Bytes that a process may take whose policies may take so many each: no more than MLX recommends for all of them.

    Args:
        limits: of its policies, one at least.
        recommended: bytes; None where MLX recommends nothing. A policy that is allowed more keeps its own.
    """
    return min(sum(limits), max(*limits, recommended or sum(limits)))


def device_memory(options: MLXOptions) -> DeviceMemory | None:
    """The memory that a run may take."""
    if options.memory is None and mx.default_device().type == mx.cpu:
        return main_memory()
    allowed = limit(options)
    return None if allowed is None else DeviceMemory(device="MLX", bytes=allowed, usable=allowed)


def savings(config: Config, student: StudentSpec, load: MemoryLoad, options: MLXOptions) -> list[Saving]:
    """Options that save memory where everything is as small as it gets by itself."""
    found = []
    if load.optimizer is not None and options.gradient_checkpointing is False:
        found.append(Saving(option="gradient_checkpointing", values=(True,)))
    if student.adapter is not None and options.quantize is None and config.get("quantization") is None:
        found.append(Saving(option="quantize", values=(8, 4)))
    return found


def held_bytes(model: Any, optimizer: OptimizerSpec | None, reference: bool) -> int:
    """Bytes of the weights that are loaded, and of the masters, moments and reference that go with them."""
    own = trained(model)
    # what an untied output projection shares with the embeddings is there once
    weights = sum({id(value): value.nbytes for value in by_name(model.parameters()).values()}.values())
    copies = sum(value.nbytes for value in own.values()) if reference else 0
    if optimizer is None:
        return weights + copies
    masters = sum(value.size for value in own.values() if value.dtype.size < FLOAT32)
    return weights + copies + FLOAT32 * masters + moment_bytes(model, optimizer)


def footprint(
    config: Config, model: Any, *, held: int, trained: TrainedSize, sampled: StateSize, vocabulary: int, context: int
) -> Footprint:
    """Bytes that a policy takes, by what they grow with.

    Args:
        config: of the model.
        model: in the type in which it is run; its weights may never have been computed.
        held: bytes of weights, masters, moments and reference.
        trained: the parameters that are trained.
        sampled: the state of sampling.
        vocabulary: numbers of a position's logits.
        context: tokens of the longest sequence.
    """
    shape = LayerShape.of(config)
    position = state_size(model).position
    own = FLOAT32 if trained.adapted else trained.size
    kept = shape.kept(trained.size, adapted=trained.adapted)
    # scores are there for all queries and keys of a layer, but in the kernels of Metal, which have no gradient
    pair = SCORES * FLOAT32 * shape.heads
    scores = 0 if mx.default_device().type == mx.gpu else pair * min(context, LONGEST_SCORES)
    return Footprint(
        held=held,
        # those of a micro-batch, and their sum in float32
        gradients=trained.trainable * (FLOAT32 + own),
        position=sampled.position,
        row=sampled.row,
        kept=shape.layers * kept + position,
        recomputed=shape.layers * shape.hidden * trained.size + 2 * position + LAYERS_AT_ONCE * kept,
        copied=position,
        pair=pair,
        logits=logits_bytes(vocabulary, context * GROUP),
        smallest_logits=logits_bytes(vocabulary, 1),
        drawn=DRAWN * FLOAT32 * vocabulary,
        passed=LAYERS_AT_ONCE * kept + scores,
        layers=shape.layers,
    )


@dataclass(frozen=True)
class LayerShape:
    """The numbers of a layer that decide what it keeps of a token; of the widest one where layers differ."""

    layers: int
    hidden: int
    inner: int
    heads: int

    @staticmethod
    def of(config: Config) -> LayerShape:
        """Of a model's configuration.

        Raises:
            KeyError: the configuration doesn't say how many layers there are, or how wide they are.
        """
        text = text_level(config)
        kinds = text.get("hybrid_override_pattern") or text.get("layers_block_type") or ()
        # GPT-2's kind and Mamba's have words of their own
        layers = int(_first(text, "num_hidden_layers", "n_layer", "n_layers") or len(kinds))
        hidden = int(_first(text, "hidden_size", "n_embd", "d_model") or 0)
        if not layers or not hidden:
            raise KeyError("hidden_size" if layers else "num_hidden_layers")
        inner = _first(text, "intermediate_size", "n_inner", "d_inner") or 4 * hidden
        heads = int(_first(text, "num_attention_heads", "n_head", "n_heads") or 1)
        return LayerShape(layers, hidden, max(inner) if isinstance(inner, list) else int(inner), heads)

    def kept(self, size: int, *, adapted: bool) -> int:
        """Bytes that a layer keeps of a token for the backward pass.

        About ten states and four of the inner width, and under an adapter float32 copies of what its layers take.

        Args:
            size: bytes of a number.
            adapted: whether an adapter is trained, which computes in float32.
        """
        copies = FLOAT32 * (6 * self.hidden + self.inner) if adapted and size < FLOAT32 else 0
        return (10 * self.hidden + 4 * self.inner) * size + copies


def _first(config: Config, *names: str) -> Any:
    """The value of the first of the names that a configuration has; None where it has none."""
    return next((config[name] for name in names if config.get(name)), None)


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
    moments = moment_bytes(model, load.optimizer)
    if student.adapter is not None:
        trainable = adapter_parameters(
            model, student.adapter, options.adapter, PeftLayers(transformers_kind(config, config))
        )
        moments = 0 if load.optimizer is None else load.optimizer.moment_bytes(trainable, trainable)
    updated = load.optimizer is not None
    learned = TrainedSize(trainable=trainable, moments=moments, size=size, adapted=student.adapter is not None)
    reference = trainable if load.reference else 0
    parts = training_parts(weights, learned, updated=updated, reference=reference)
    model.set_dtype(dtype)
    sampled = state_size(model, options.quantized)
    size_of = footprint(
        config,
        model,
        held=sum(parts.values()) - parts["gradients"],
        trained=learned,
        sampled=sampled,
        vocabulary=vocabulary_of(config),
        context=load.context,
    )
    wanted = wanted_of(
        options, slots=min(options.slots, load.sequences), context=load.context, tokens=load.train_tokens
    )
    return planned_estimate(size_of, wanted, load, allowed, parts, (parameters, trainable))


def wanted_of(options: MLXOptions, *, slots: int, context: int, tokens: int = 0) -> Wanted:
    """What options ask of the memory."""
    return Wanted(
        slots,
        context,
        tokens or options.usual_budget,
        finds_budget=not tokens and options.token_budget == "auto",
        checkpointing=options.gradient_checkpointing,
        option=OPTION,
    )


def vocabulary_of(config: Config) -> int:
    """Numbers of a position's logits."""
    return int(text_level(config)["vocab_size"])


def _outline(config: Config) -> Any:
    """The model with random weights, none of which is ever computed."""
    try:
        model_class, arguments = mlx_lm("utils")._get_classes(config)
        return model_class(arguments.from_dict(config))
    except (ValueError, TypeError, KeyError) as error:
        raise BackendError(
            f"mlx-lm has no model for this configuration: {error}", hint="take another model, or `backend: torch`"
        ) from error
