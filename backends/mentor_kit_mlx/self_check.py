"""Self-checks of a model in MLX: trial tokens, comparison, and weights that are widened meanwhile.

See `mentor_kit.backend.self_check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from mentor_kit.backend import self_check
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.params import by_name


def trial_tokens(lm: MLXLMWrapper) -> mx.array:
    """Tokens (2, 5) to run."""
    return mx.array(self_check.trial_ids(lm.vocabulary).astype(np.int32))


def agree(lm: MLXLMWrapper, found: mx.array, expected: mx.array) -> bool:
    """Whether two ways of running a model gave the same, up to rounding in its type."""
    first, second = (np.array(values.astype(mx.float32)) for values in (found, expected))
    return self_check.agree(first, second, exact=lm.dtype == mx.float32)


@contextmanager
def exact(lm: MLXLMWrapper) -> Iterator[None]:
    """Run a model of 16 bits in float32, each layer widened while it runs.

    What is quantized stays so. Models that run whole stay as they are.
    """
    own, decoder = lm.dtype, lm.decoder
    layers = getattr(decoder, "layers", None)
    if own == mx.float32 or not isinstance(layers, list):
        yield
        return
    kept = lm.model.parameters()
    inside = {id(value) for layer in layers for value in by_name(layer.parameters()).values()}
    try:
        lm.model.update(tree_map(lambda value: value if id(value) in inside else _widened(value), kept))
        decoder.layers = _OneByOne(layers)
        lm.dtype = mx.float32
        yield
    finally:
        lm.dtype = own
        decoder.layers = layers
        lm.model.update(kept)


class _OneByOne(list[Any]):
    """Layers that are widened while they run; MLX computes the wide weights when they are needed."""

    def __iter__(self) -> Iterator[Any]:
        for layer in super().__iter__():
            narrow = layer.parameters()
            layer.update(tree_map(_widened, narrow))
            yield layer
            layer.update(narrow)

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        if isinstance(place, slice):
            return _OneByOne(found)
        found.update(tree_map(_widened, found.parameters()))
        return found


def _widened(value: mx.array) -> mx.array:
    return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value
