"""A model's plain weights: its adapter merged, nothing quantized."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from mentor_kit_mlx import adapters
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.params import Arrays, by_name, trained


def plain_weights(model: Any) -> Arrays:
    """The weights of a model with its adapter merged, dequantized; the model itself stays as it is.

    Nothing is computed until it is used.
    """
    return by_name(plain_twin(model).parameters())


def plain_twin(model: Any) -> Any:
    """A copy of a model with its adapter merged, dequantized."""
    twin = copy.deepcopy(model)
    # before the merge, as some modes dequantize to 16 bits, which would round the adapter away
    twin.update_modules(tree_unflatten(list(_dequantized(twin))))
    twin.update_modules(tree_unflatten(list(adapters.fused(twin))))
    return twin


def _dequantized(model: Any) -> Iterator[tuple[str, Any]]:
    """The quantized layers as plain ones in the type of the model's other weights, by name."""
    adapter, own = trained(model), by_name(model.parameters())
    kept = [v.dtype for name, v in own.items() if name not in adapter and mx.issubdtype(v.dtype, mx.floating)]
    for name, module in model.named_modules():
        if hasattr(module, "scales") and hasattr(module, "bits"):
            holder = nn.Module()
            holder.layer = module
            plain = mlx_lm("utils").dequantize_model(holder).layer
            plain.weight = plain.weight.astype(kept[0])
            yield name, plain
