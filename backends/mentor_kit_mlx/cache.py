"""Cache objects of mlx-lm's interface: the keys and values that a model's layers attend to.

mlx-lm's layers ask such an object three things: at which position the tokens of each row start (`offset`), which keys
a token sees (`make_mask`), and for the keys and values so far (`update_and_fetch`). A `View` says the first two for
all layers; rows may be of any length, as what lies beyond a row's end is hidden by the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from mentor_kit.backend.row_device import Array
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.quantized import Quantized
from mentor_kit_mlx.self_check import agree, trial_tokens

if TYPE_CHECKING:
    from mentor_kit_mlx.lm_wrapper import MLXLMWrapper

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

    def mask(self, window: int | None) -> mx.array:
        """(n, 1, T, L): True where a token sees a key; with a window, only the latest ones."""
        if window is None:
            return self._allowed
        if window not in self._windows:
            near = (self._queries[:, :, None] - self._keys[:, None, :] < window)[:, None]
            self._windows[window] = self._allowed & near
        return self._windows[window]


class _Layer:
    """What one layer is handed."""

    def __init__(self, view: View) -> None:
        self.view = view

    @property
    def offset(self) -> mx.array:
        return self.view.start

    def make_mask(self, count: int, return_array: bool = False, window_size: int | None = None) -> mx.array:
        return self.view.mask(window_size)


class Behind(_Layer):
    """Tokens behind given keys and values, or none; everything may carry gradients."""

    def __init__(self, view: View, keys: mx.array | None = None, values: mx.array | None = None) -> None:
        super().__init__(view)
        self.keys, self.values = keys, values

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self.keys is not None and self.values is not None:
            keys, values = mx.concatenate([self.keys, keys], axis=2), mx.concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        return keys, values


class _RowLayer(_Layer):
    """One layer's part of a `MLXRowCache` in one pass."""

    def __init__(self, view: View, owner: MLXRowCache, index: int) -> None:
        super().__init__(view)
        self._owner, self._index = owner, index

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Any:
        return self._owner.write(self._index, keys, values)


class _QuantizedRowLayer(_RowLayer):
    """As `_RowLayer`; by these two attributes mlx-lm's attention knows that keys and values are quantized."""

    def __init__(self, view: View, owner: MLXRowCache, index: int, how: Quantized) -> None:
        super().__init__(view, owner, index)
        self.bits, self.group_size = how.bits, how.group


#: Arrays of shape (rows, heads, positions, …): the values themselves, or the parts they are quantized to.
Buffers = tuple[mx.array, ...]


class MLXRowCache:
    """Keys and values of many sequences, a row each, of shape (rows, heads, positions, width) for every layer.

    Args:
        layers: how many layers keep them.
        quantized: how they are kept; None for as they are.
    """

    def __init__(self, layers: int, quantized: Quantized | None = None) -> None:
        self.rows = self.positions = 0
        self._quantized = quantized
        self._keys: list[Buffers | None] = [None] * layers
        self._values: list[Buffers | None] = [None] * layers
        self._chosen: mx.array = mx.array([])
        self._leading = False
        self._where: mx.array = mx.array([])
        self._length = 0

    @property
    def nbytes(self) -> int:
        """What it takes now."""
        return sum(part.nbytes for buffers in self._buffers() for part in buffers)

    def aim(self, start: np.ndarray[Any, Any], width: int, length: int, chosen: Sequence[int]) -> list[_RowLayer]:
        """Objects for a pass of `width` tokens from positions `start` (n,) of the rows `chosen` (n,).

        It sees at most the first `length` positions.
        """
        self._leading = list(chosen) == list(range(len(chosen)))
        self._chosen = mx.array(list(chosen))
        first = mx.array(start.astype(np.int32))
        self._where = first[:, None] + mx.arange(width)
        self._length = length
        keys = mx.arange(length)[None]
        view = View(first, self._where, keys, (keys[:, None] <= self._where[:, :, None])[:, None])
        layers = range(len(self._keys))
        if self._quantized is None:
            return [_RowLayer(view, self, index) for index in layers]
        return [_QuantizedRowLayer(view, self, index, self._quantized) for index in layers]

    def write(self, layer: int, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Put keys and values (n, heads, T, width) where `aim` said; what the pass sees of them.

        Each of the two is an array, or the tuple of its quantized parts.
        """
        return self._write(self._keys, layer, keys), self._write(self._values, layer, values)

    def _write(self, store: list[Buffers | None], layer: int, new: mx.array) -> Any:
        parts = (new,) if self._quantized is None else self._quantized.encode(new)
        buffers = self._made(store, layer, parts)
        found = []
        for buffer, part in zip(buffers, parts, strict=True):
            buffer[self._chosen[:, None], :, self._where] = part.transpose(0, 2, 1, 3)
            rows = buffer[: len(self._chosen)] if self._leading else buffer[self._chosen]
            found.append(rows[:, :, : self._length])
        return found[0] if self._quantized is None else tuple(found)

    def _made(self, store: list[Buffers | None], layer: int, like: Buffers) -> Buffers:
        """A layer's buffers, made like others of its kind where there are none yet."""
        buffers = store[layer]
        if buffers is None:
            shapes = [(self.rows, part.shape[1], self.positions, part.shape[3]) for part in like]
            buffers = tuple(mx.zeros(shape, part.dtype) for shape, part in zip(shapes, like, strict=True))
            store[layer] = buffers
        return buffers

    def reserve(self, rows: int, positions: int) -> None:
        """Grow to so many rows of so many positions; what is there is kept."""
        rows, positions = max(self.rows, rows), max(self.positions, positions)
        if (rows, positions) == (self.rows, self.positions):
            return
        more = [(0, rows - self.rows), (0, 0), (0, positions - self.positions), (0, 0)]
        self._change(lambda buffer: mx.pad(buffer, more))
        self.rows, self.positions = rows, positions

    def copy(self, other: MLXRowCache, source: Array, target: Array, length: int) -> None:
        """Copy rows `source` (n,) of a cache, maybe this one, to rows `target` (n,) up to position `length`.

        All are read before any is written.
        """
        read, written = mx.array(source), mx.array(target)
        for store, given in ((self._keys, other._keys), (self._values, other._values)):
            for index, theirs in enumerate(given):
                if theirs is not None:
                    for own, part in zip(self._made(store, index, theirs), theirs, strict=True):
                        own[written, :, :length] = part[read, :, :length]
        self.evaluate()

    def drop(self) -> None:
        """Free everything."""
        self._keys = [None] * len(self._keys)
        self._values = [None] * len(self._values)
        self.rows = self.positions = 0

    def evaluate(self) -> None:
        """Have all writes done now."""
        mx.eval(list(self._buffers()))

    def _buffers(self) -> Iterator[Buffers]:
        yield from (buffers for store in (self._keys, self._values) for buffers in store if buffers is not None)

    def _change(self, change: Callable[[mx.array], mx.array]) -> None:
        """Put every buffer through a function, one after the other, so that only one exists twice."""
        for store in (self._keys, self._values):
            for index, buffers in enumerate(store):
                if buffers is not None:
                    store[index] = tuple(_done(change(buffer)) for buffer in buffers)


def _done(array: mx.array) -> mx.array:
    mx.eval(array)
    return array


def keeps_rows(lm: MLXLMWrapper) -> bool:
    """Whether a model gives the same when its keys and values are kept in rows; found out by trying it."""
    whole = lm.logits(lm.hidden(trial_tokens(lm)))
    try:
        found = _by_rows(lm, MLXRowCache(lm.layers))
    except UNFIT:
        return False
    return agree(lm, found, whole[:, 3:])


def check_quantized(lm: MLXLMWrapper, quantized: Quantized, *, keeps: bool) -> None:
    """Refuse to quantize the keys and values of a model that cannot have it; found out by trying it.

    Args:
        lm: the model.
        quantized: how.
        keeps: whether it keeps keys and values at all.

    Raises:
        BackendError: it cannot.
    """
    if not keeps:
        raise BackendError(
            "backend.kv_bits: this model's layers keep other state than keys and values", hint="leave `kv_bits` out"
        )
    try:
        _by_rows(lm, MLXRowCache(lm.layers, quantized))
    except UNFIT as error:
        raise BackendError(
            f"backend.kv_bits: this model's keys and values cannot be quantized: {str(error).strip().splitlines()[0]}",
            hint="set `kv_group` to 32, 64 or 128, so that it divides the width of a head, or leave `kv_bits` out",
        ) from error


def _by_rows(lm: MLXLMWrapper, cache: MLXRowCache) -> mx.array:
    """The logits (2, 2, V) of the last two tokens of two rows, which are taken in behind the first three."""
    cache.reserve(2, 5)
    for start, end in ((0, 3), (3, 5)):
        layers = cache.aim(np.array([start, start]), end - start, end, [0, 1])
        last = lm.logits(lm.hidden(trial_tokens(lm)[:, start:end], layers))
        mx.eval(last)
    return last
