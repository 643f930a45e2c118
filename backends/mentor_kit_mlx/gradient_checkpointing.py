"""Exact gradient checkpointing: layers are recomputed in the backward pass, with everything they depend on.

MLX's `checkpoint` differentiates a function's arguments and results alone. A layer with a cache reads keys and values
from it and writes its own there, which are neither: their gradients would silently be lost. Here what a cache holds and
parameters are arguments and results, as is everything in tuples that layers hand on, such as keys and values that later
layers share; and a layer's dropout draws the same numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from mentor_kit_mlx.cache import UNFIT, held, is_cache, put, renewed
from mentor_kit_mlx.gradient_trial import equal_gradients, trial_gradients
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.random_state import drawing_from, own_seed

Call = Callable[..., Any]


class GradientCheckpointing:
    """A switch for all layers of a model, off at first.

    Args:
        model: of mlx-lm; the class of its layers is replaced by one that checks the switch.
        dropout: whether layers draw random numbers in training.
    """

    def __init__(self, model: Any, *, dropout: bool) -> None:
        self._on = False
        self._dropout = dropout
        made: dict[type, type] = {}
        for layer in model.layers:
            kind = type(layer)
            if kind not in made:
                made[kind] = type(kind.__name__, (kind,), {"__call__": self._switched(kind.__call__)})
            layer.__class__ = made[kind]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Recompute layers in backward passes."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _switched(self, plain: Call) -> Call:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self._run(plain, layer, args, kwargs) if self._on else plain(layer, *args, **kwargs)

        return call

    def _run(self, plain: Call, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        inputs = (tuple(args), dict(kwargs))
        caches = [value for value in _leaves(inputs) if is_cache(value)]
        given = (inputs, [held(cache) for cache in caches])
        own = layer.trainable_parameters()
        seed = own_seed() if self._dropout else None
        results: list[Any] = []
        """What the layer gave and left, for the values in it that are no arrays."""

        def part(parameters: Any, floats: list[mx.array]) -> list[mx.array]:
            layer.update(parameters)
            inputs, past = _replaced(given, _is_float, floats)
            fresh = [renewed(cache) for cache in caches]
            for cache, arrays in zip(fresh, past, strict=True):
                put(cache, arrays)
            args, kwargs = _replaced(inputs, is_cache, fresh)
            with drawing_from(seed):
                found = plain(layer, *args, **kwargs)
            results[:] = [found, [held(cache) for cache in fresh]]
            return list(_distinct(results).values())

        try:
            arrays = mx.checkpoint(part)(own, [value for value in _leaves(given) if _is_float(value)])
        finally:
            layer.update(own)
        by_id = dict(zip(_distinct(results), arrays, strict=True))
        found, left = tree_map(lambda value: by_id.get(id(value), value), results)
        # the function lives on for the backward pass, and would keep what it computed
        results.clear()
        for cache, own_arrays in zip(caches, left, strict=True):
            put(cache, own_arrays)
        return found


def is_exact(lm: MLXLMWrapper, recomputing: GradientCheckpointing, *, share: bool) -> bool:
    """Whether a model has the same gradients with its layers recomputed, found by a trial."""
    expected = trial_gradients(lm, share=share)
    try:
        with recomputing.on():
            found = trial_gradients(lm, share=share)
    except UNFIT:
        return False
    return equal_gradients(lm, found, expected)


def _leaves(tree: Any) -> list[Any]:
    """What is in a tree of tuples, lists and dictionaries, in order."""
    found: list[Any] = []
    tree_map(found.append, tree)
    return found


def _replaced(tree: Any, which: Callable[[Any], bool], values: Sequence[Any]) -> Any:
    """The tree with some of its leaves replaced, in order."""
    rest = iter(values)
    return tree_map(lambda value: next(rest) if which(value) else value, tree)


def _distinct(tree: Any) -> dict[int, mx.array]:
    """The arrays in a tree by their identities: the gradient of a result that is given twice would be lost."""
    return {id(value): value for value in _leaves(tree) if isinstance(value, mx.array)}


def _is_float(value: Any) -> bool:
    return isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating)
