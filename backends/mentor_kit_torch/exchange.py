"""What several processes change in an estimate of memory, and what they exchange."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from mentor_kit.backend.memory import MemoryEstimate, TrainedSize
from mentor_kit.backend.optimizer import FLOAT32
from mentor_kit_torch.launched import launched
from mentor_kit_torch.options import TorchOptions

#: Parts of an estimate that sharding divides.
SHARDED = ("weights", "gradients", "optimizer", "reference")


def process_count(options: TorchOptions) -> int:
    """The processes that a run with these options has."""
    if options.processes is not None:
        return options.processes
    found = launched()
    return 1 if found is None else found.size


@dataclass(frozen=True)
class PassBytes:
    """Bytes that passes over sharded weights exchange, counted whole: each process receives nearly as many."""

    forward: int
    """Of all weights, gathered for a pass; or once for all passes of a rollout."""
    backward: int
    """Of the layers' weights, gathered again."""
    gradients: int
    """In float32, summed to a part in each process."""

    @classmethod
    def of(cls, model: Any, dtype: torch.dtype, *, adapted: bool) -> PassBytes:
        """Of a model, which may be without weights.

        Args:
            model: with its adapter.
            dtype: that it computes in.
            adapted: whether an adapter is trained, which is kept and gathered in float32.
        """

        def size(parameters: Iterable[Any]) -> int:
            wide = FLOAT32 if adapted else dtype.itemsize
            return sum(p.numel() * (wide if p.requires_grad else dtype.itemsize) for p in parameters)

        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        of_layers = sum(size(layer.parameters()) for layer in decoder_layers(model))
        return cls(size(model.parameters()), of_layers, FLOAT32 * trained)


def decoder_layers(model: Any) -> list[Any]:
    """The layers of a model's decoder, which are sharded and gathered one by one."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder = inner.get_decoder() if hasattr(inner, "get_decoder") else inner
    lists = [module for module in decoder.children() if isinstance(module, torch.nn.ModuleList)]
    return [layer for layers in lists for layer in layers]


def over_processes(
    estimate: MemoryEstimate,
    options: TorchOptions,
    trained: TrainedSize,
    passes: PassBytes,
    *,
    updated: bool,
    sampled: bool,
) -> MemoryEstimate:
    """The estimate of each of the processes, with what they exchange.

    Args:
        estimate: of one process that does all the work.
        options: of the backend.
        trained: the parameters that are trained.
        passes: over the model.
        updated: whether anything is trained at all.
        sampled: whether the processes sample, and no servers.
    """
    count = process_count(options)
    if count == 1:
        return estimate
    parts = dict(estimate.parts)
    parts["keys and values"] = -(-parts["keys and values"] // count)
    exchanged = {"gradients, a step": passes.gradients if updated else 0}
    if options.shard:
        if updated and not trained.adapted and trained.size < FLOAT32:
            # trained weights are kept in float32 alone
            parts["weights"] -= trained.trainable * trained.size
            parts["reference"] = parts["reference"] // trained.size * FLOAT32
        parts |= {part: -(-parts[part] // count) for part in SHARDED}
        if sampled:
            parts["gathered weights"] = passes.forward
        exchanged = {"weights, a rollout": passes.forward if sampled else 0}
        if updated:
            exchanged["weights, an export"] = passes.gradients  # kept in float32, as gradients are
            exchanged["weights, a micro-batch"] = passes.forward + passes.backward
            exchanged["gradients, a micro-batch"] = passes.gradients
    exchanged = {key: size for key, size in exchanged.items() if size}
    return estimate.model_copy(update={"parts": parts, "processes": count, "exchanged": exchanged})
