"""What a model's layers see, said through the objects mlx-lm takes for caches.

mlx-lm's layers ask such an object three things: at which position the tokens of each row start (`offset`), which keys
a token sees (`make_mask`), and for the keys and values so far (`update_and_fetch`). A `View` says the first two for
all layers; rows may be of any length, as what lies beyond a row's end is hidden by the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

if TYPE_CHECKING:
    from mentor_kit_mlx.head import Head

ROW_STEP, POSITION_STEP = 8, 128


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
    """One layer's part of a `RowCache` in one pass."""

    def __init__(self, view: View, owner: RowCache, index: int) -> None:
        super().__init__(view)
        self._owner, self._index = owner, index

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return self._owner.write(self._index, keys, values)


class RowCache:
    """Keys and values of many sequences, a row each, of shape (rows, heads, positions, width) for every layer."""

    def __init__(self, layers: int) -> None:
        self.rows = self.positions = 0
        self._keys: list[mx.array | None] = [None] * layers
        self._values: list[mx.array | None] = [None] * layers
        self._chosen: mx.array = mx.array([])
        self._leading = False
        self._where: mx.array = mx.array([])
        self._length = 0

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
        return [_RowLayer(view, self, index) for index in range(len(self._keys))]

    def write(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Put keys and values (n, heads, T, width) where `aim` said; what the pass sees of them."""
        found = []
        for store, new in ((self._keys, keys), (self._values, values)):
            buffer = store[layer]
            if buffer is None:
                store[layer] = buffer = mx.zeros((self.rows, new.shape[1], self.positions, new.shape[3]), new.dtype)
            buffer[self._chosen[:, None], :, self._where] = new.transpose(0, 2, 1, 3)
            rows = buffer[: len(self._chosen)] if self._leading else buffer[self._chosen]
            found.append(rows[:, :, : self._length])
        return found[0], found[1]

    def reserve(self, rows: int, positions: int) -> None:
        """Make room, in coarse steps; what is there is kept."""
        rows = max(self.rows, -(-rows // ROW_STEP) * ROW_STEP)
        positions = max(self.positions, -(-positions // POSITION_STEP) * POSITION_STEP)
        if (rows, positions) == (self.rows, self.positions):
            return
        more = [(0, rows - self.rows), (0, 0), (0, positions - self.positions), (0, 0)]
        self._change(lambda buffer: mx.pad(buffer, more))
        self.rows, self.positions = rows, positions

    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Copy the first `length` positions of a row to others."""

        def change(buffer: mx.array) -> mx.array:
            buffer[mx.array(list(targets)), :, :length] = buffer[source : source + 1, :, :length]
            return buffer

        self._change(change)

    def keep(self, rows: Sequence[int]) -> None:
        """Rows `rows` become the first ones, in this order; the others are forgotten."""
        order = [*rows, *(row for row in range(self.rows) if row not in set(rows))]
        self._change(lambda buffer: buffer[mx.array(order)])

    def drop(self) -> None:
        """Free everything."""
        self._keys = [None] * len(self._keys)
        self._values = [None] * len(self._values)
        self.rows = self.positions = 0

    def evaluate(self) -> None:
        """Have all writes done now."""
        mx.eval([buffer for buffer in (*self._keys, *self._values) if buffer is not None])

    def _change(self, change: Any) -> None:
        """Put every buffer through a function, one after the other, so that only one exists twice."""
        for store in (self._keys, self._values):
            for index, buffer in enumerate(store):
                if buffer is not None:
                    store[index] = change(buffer)
                    mx.eval(store[index])


def keeps_rows(head: Head) -> bool:
    """Whether a model gives the same when its keys and values are kept in rows; found out by trying it."""
    ids = mx.arange(10).reshape(2, 5) % head.vocabulary
    whole = head.logits(head.hidden(ids)).astype(mx.float32)
    cache = RowCache(head.layers)
    cache.reserve(2, 5)
    try:
        for start, end in ((0, 3), (3, 5)):
            layers = cache.aim(np.array([start, start]), end - start, end, [0, 1])
            last = head.logits(head.hidden(ids[:, start:end], layers)).astype(mx.float32)
        found = np.array(last)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError):
        return False
    return np.allclose(found, np.array(whole[:, 3:]), atol=1e-3 if head.dtype == mx.float32 else 0.25, rtol=1e-2)
