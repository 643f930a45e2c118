"""Cache objects of mlx-lm's interface: the keys and values that a model's layers attend to.

mlx-lm's layers ask such an object at which position the tokens of each row start (`offset`), which keys a token sees
(`make_mask`), and for the keys and values so far (`update_and_fetch`, or `keys_and_values` where they are another
layer's). A `View` says the first two for all layers; rows may be of any length, as what lies beyond a row's end is
hidden by the mask. Layers with other state are given mlx-lm's own objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit_mlx.mlx_lm_import import mlx_lm

#: What models raise that cannot take such objects.
UNFIT = (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError)


class View:
    """Who sees whom in one pass.

    Args:
        start: (n,): the position of each row's first token.
        queries: (n, T) positions of the tokens that look.
        keys: (n or 1, L) positions of the tokens that are seen.
        allowed: (n, 1, T, L) booleans, without regard to windows.
    """

    def __init__(self, start: mx.array, queries: mx.array, keys: mx.array, allowed: mx.array) -> None:
        self.start = start
        self._queries, self._keys, self._allowed = queries, keys, allowed
        self._windows: dict[int, mx.array] = {}

    @property
    def width(self) -> int:
        """T."""
        return int(self._allowed.shape[2])

    def mask(self, window: int | None) -> mx.array:
        """(n, 1, T, L): True where a token sees a key; with a window, only the latest ones."""
        if window is None:
            return self._allowed
        if window not in self._windows:
            near = (self._queries[:, :, None] - self._keys[:, None, :] < window)[:, None]
            self._windows[window] = self._allowed & near
        return self._windows[window]


class Layer:
    """What one layer is handed."""

    def __init__(self, view: View) -> None:
        self.view = view

    @property
    def offset(self) -> mx.array:
        return self.view.start

    def make_mask(self, count: int, return_array: bool = False, window_size: int | None = None) -> mx.array:
        return self.view.mask(window_size)


class Behind(Layer):
    """Tokens behind given keys and values, or none; everything may carry gradients."""

    def __init__(self, view: View, keys: mx.array | None = None, values: mx.array | None = None) -> None:
        super().__init__(view)
        self.keys, self.values = keys, values

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self.keys is not None and self.values is not None:
            keys, values = mx.concatenate([self.keys, keys], axis=2), mx.concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        return keys, values

    def keys_and_values(self) -> tuple[mx.array | None, mx.array | None]:
        return self.keys, self.values


def own_caches(model: Any) -> list[Any]:
    """What mlx-lm keeps for a model in generation: an object for each layer that keeps something."""
    found: list[Any] = mlx_lm("models.cache").make_prompt_cache(model)
    return found


def is_recurrent(cache: Any) -> bool:
    """Whether an object of mlx-lm's holds arrays as of the last token, as recurrent layers and convolutions have."""
    return isinstance(cache, mlx_lm("models.cache").ArraysCache)


def is_several(cache: Any) -> bool:
    """Whether an object of mlx-lm's holds several, for a layer that keeps state of several kinds."""
    return isinstance(cache, mlx_lm("models.cache").CacheList)


def from_the_start(rows: int, width: int) -> View:
    """Sequences of `width` tokens each, from their beginnings."""
    places = mx.arange(width)[None]
    causal = (places[:, None] <= places[:, :, None])[:, None]
    return View(mx.zeros(rows, dtype=mx.int32), places, places, mx.broadcast_to(causal, (rows, 1, width, width)))


def prompt_caches(model: Any, view: View, lengths: np.ndarray[Any, Any]) -> list[Any]:
    """Objects for a pass over prompts from their beginnings, one for each layer that keeps something.

    Args:
        model: of mlx-lm.
        view: who sees whom.
        lengths: (n,) tokens of each prompt; padding stands behind them.
    """
    return [_prompt_cache(cache, view, lengths) for cache in own_caches(model)]


def _prompt_cache(own: Any, view: View, lengths: np.ndarray[Any, Any]) -> Any:
    if is_several(own):
        return type(own)(*(_prompt_cache(part, view, lengths) for part in own.caches))
    if not is_recurrent(own):
        return Behind(view)
    # layers leave out padding where they know the lengths
    own.lengths = mx.array(lengths.astype(np.int32)) if (lengths < view.width).any() else None
    return own


def is_cache(value: Any) -> bool:
    """Whether something is a layer's object in a pass of an update."""
    return isinstance(value, Behind) or is_recurrent(value) or is_several(value)


def held(cache: Any) -> list[mx.array | None]:
    """The arrays in a layer's object, None where there is none yet; they may carry gradients."""
    if is_several(cache):
        return [array for part in cache.caches for array in held(part)]
    return [cache.keys, cache.values] if isinstance(cache, Behind) else list(cache.cache)


def put(cache: Any, arrays: Sequence[mx.array | None]) -> None:
    """Put other arrays in the places of `held`."""
    if is_several(cache):
        rest = list(arrays)
        for part in cache.caches:
            put(part, [rest.pop(0) for _ in held(part)])
    elif isinstance(cache, Behind):
        cache.keys, cache.values = arrays
    else:
        cache.cache = list(arrays)


def renewed(cache: Any, view: View | None = None) -> Any:
    """An object like a layer's, without arrays.

    Args:
        cache: the layer's.
        view: of another pass, with no padding in front of a token; None for the same pass.
    """
    if is_several(cache):
        return type(cache)(*(renewed(part, view) for part in cache.caches))
    if isinstance(cache, Behind):
        return Behind(cache.view if view is None else view)
    found = type(cache)(len(cache.cache))
    if view is None and cache.lengths is not None:
        # layers count them down in place
        found.lengths = cache.lengths + 0
    return found
