"""Trials of a model: whether another way of running it gives the same, found out on few tokens when it is loaded.

In 16 bits rounding alone may change what a deep model gives by more than a mistake would, so trials widen its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx.utils import tree_map

from mentor_kit_mlx.params import by_name

if TYPE_CHECKING:
    from mentor_kit_mlx.lm_wrapper import LMWrapper


def trial_tokens(head: LMWrapper) -> mx.array:
    """Tokens (2, 5) to try passes with."""
    return mx.arange(10).reshape(2, 5) % head.vocabulary


def agree(head: LMWrapper, found: mx.array, expected: mx.array) -> bool:
    """Whether two ways of running a model gave the same, but for rounding in its type."""
    if head.dtype == mx.float32:
        return bool(mx.allclose(found, expected, atol=1e-3, rtol=1e-4))
    return bool(mx.allclose(found.astype(mx.float32), expected.astype(mx.float32), atol=0.25, rtol=1e-2))


@contextmanager
def exact(head: LMWrapper) -> Iterator[None]:
    """A model of 16 bits runs in float32 for a while, its layers widened one by one, each in its turn.

    What is quantized stays so. Models that run whole stay as they are.
    """
    own, decoder = head.dtype, head.decoder
    layers = getattr(decoder, "layers", None)
    if own == mx.float32 or not isinstance(layers, list):
        yield
        return
    kept = head.model.parameters()
    inside = {id(value) for layer in layers for value in by_name(layer.parameters()).values()}
    try:
        head.model.update(tree_map(lambda value: value if id(value) in inside else _widened(value), kept))
        decoder.layers = _OneByOne(layers)
        head.dtype = mx.float32
        yield
    finally:
        head.dtype = own
        decoder.layers = layers
        head.model.update(kept)


class _OneByOne(list[Any]):
    """Layers that are widened while they are run through; MLX widens the weights when it comes to them."""

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
