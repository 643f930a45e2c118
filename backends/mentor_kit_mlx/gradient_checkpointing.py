"""Exact gradient checkpointing: layers are recomputed in the backward pass, with everything they depend on.

MLX's `checkpoint` differentiates a function's arguments and results alone. A layer with a cache reads keys and values
from it and writes its own there, which are neither: their gradients would silently be lost. Here keys, values and
parameters are arguments and results, and a layer's dropout draws the same numbers again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx

from mentor_kit.backend.microbatching import micro_batches
from mentor_kit.backend.self_check import trial_groups
from mentor_kit.rl.advantages.group_mean import GroupMean
from mentor_kit.rl.losses.likelihood import Likelihood
from mentor_kit.rl.objective import Objective, ObjectiveSpec
from mentor_kit_mlx.cache import UNFIT, Behind
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.random_state import drawing_from, own_seed
from mentor_kit_mlx.update import loss_and_gradients

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
        given = [*args, *kwargs.values()]
        floats = [index for index, value in enumerate(given) if _is_float(value)]
        caches = [index for index, value in enumerate(given) if isinstance(value, Behind)]
        past = [[part for part in (given[i].keys, given[i].values) if part is not None] for i in caches]
        own = layer.trainable_parameters()
        seed = own_seed() if self._dropout else None

        def part(parameters: Any, arrays: list[mx.array], past: list[list[mx.array]]) -> Any:
            layer.update(parameters)
            values = list(given)
            fresh = [Behind(given[index].view, *parts) for index, parts in zip(caches, past, strict=True)]
            for index, value in [*zip(floats, arrays, strict=True), *zip(caches, fresh, strict=True)]:
                values[index] = value
            with drawing_from(seed):
                found = plain(layer, *values[: len(args)], **dict(zip(kwargs, values[len(args) :], strict=True)))
            return found, [[cache.keys, cache.values] for cache in fresh]

        try:
            found, left = mx.checkpoint(part)(own, [given[index] for index in floats], past)
        finally:
            layer.update(own)
        for index, (keys, values) in zip(caches, left, strict=True):
            given[index].keys, given[index].values = keys, values
        return found


def is_exact(lm: MLXLMWrapper, recomputing: GradientCheckpointing, *, share: bool) -> bool:
    """Whether a model has the same gradients with its layers recomputed, found by a trial.

    The trial leaves MLX's generator as it was, so that a resumed run, which repeats it, draws the same numbers.
    """
    with drawing_from(0):
        return _is_exact(lm, recomputing, share=share)


def _is_exact(lm: MLXLMWrapper, recomputing: GradientCheckpointing, *, share: bool) -> bool:
    objective = Objective(ObjectiveSpec(preset="sft"), Likelihood(), GroupMean())
    [batch] = micro_batches(trial_groups(lm.vocabulary), 1 << 20, objective)
    expected = loss_and_gradients(lm, batch, objective, None, share=share)[1]
    try:
        with recomputing.on():
            found = loss_and_gradients(lm, batch, objective, None, share=share)[1]
    except UNFIT:
        return False
    scale = max(float(mx.abs(value).max()) for value in expected.values())
    tolerance = (1e-5 if lm.dtype == mx.float32 else 1e-2) * scale
    return all(float(mx.abs(found[name] - value).max()) <= tolerance for name, value in expected.items())


def _is_float(value: Any) -> bool:
    return isinstance(value, mx.array) and mx.issubdtype(value.dtype, mx.floating)
