"""What the layers of a model of mlx-lm keep of sequences in rows.

mlx-lm says by the class of a layer's cache of what kind its state is: keys and values, arrays, or several. For each
kind there is a `MLXLayerState` here, with buffers for all rows. In a pass it hands the layer an object of mlx-lm's
interface, for the rows of that pass, and afterwards takes back what the layer left in it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit.backend.row_device import Array
from mentor_kit.backend.row_state import LayerState
from mentor_kit_mlx.cache import Layer, View, is_recurrent, is_several
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.quantized import Quantized


@dataclass(frozen=True)
class Aim:
    """Where a pass of n sequences of T tokens each reads and writes."""

    rows: mx.array
    """(n,): their rows."""
    leading: bool
    """Whether these are the first n."""
    view: View
    """Who sees whom."""
    where: mx.array
    """(n, T): positions of the tokens."""
    length: int
    """Keys are read at positions below it."""
    fresh: Array
    """(n,) booleans: rows that begin here."""
    counts: Array
    """(n,): how many of the tokens each row takes in."""

    @property
    def width(self) -> int:
        """T."""
        return int(self.where.shape[1])

    @property
    def lengths(self) -> mx.array | None:
        """`counts` for layers that have to leave out padding; None where there is none that matters."""
        padded = ((self.counts > 0) & (self.counts < self.width)).any()
        return mx.array(self.counts.astype(np.int32)) if padded else None


class MLXLayerState(LayerState):
    """What one layer keeps of all rows, in buffers of MLX."""

    @abstractmethod
    def handed(self, aim: Aim) -> Any:
        """The object that a layer is given in a pass."""

    def take(self, aim: Aim, given: Any) -> None:
        """Take back what the layer left in the object that it was given."""
        return None

    @abstractmethod
    def arrays(self) -> Iterator[mx.array]:
        """All buffers."""

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays())

    @property
    def position_nbytes(self) -> int:
        """Those of the bytes that grow with the positions."""
        return self.nbytes if self.cuts else 0


#: Arrays of shape (rows, heads, positions, …): the values themselves, or the parts they are quantized to.
Buffers = tuple[mx.array, ...]


class KeysAndValues(MLXLayerState):
    """Keys and values of shape (rows, heads, positions, width); the positions of windows are all kept.

    Args:
        quantized: how they are kept; None for as they are.
    """

    def __init__(self, quantized: Quantized | None = None) -> None:
        self._quantized = quantized
        self._rows = self._positions = 0
        self._stores: list[Buffers | None] = [None, None]

    def handed(self, aim: Aim) -> MLXRowLayer:
        return MLXRowLayer(self, aim) if self._quantized is None else QuantizedRowLayer(self, aim, self._quantized)

    def write(self, aim: Aim, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Put keys and values (n, heads, T, width) where `aim` says; what the pass sees of them.

        Each of the two is an array, or the tuple of its quantized parts.
        """
        return self._write(aim, 0, keys), self._write(aim, 1, values)

    def _write(self, aim: Aim, store: int, new: mx.array) -> Any:
        parts = (new,) if self._quantized is None else self._quantized.encode(new)
        found = []
        for buffer, part in zip(self._made(store, parts), parts, strict=True):
            buffer[aim.rows[:, None], :, aim.where] = part.transpose(0, 2, 1, 3)
            rows = buffer[: len(aim.rows)] if aim.leading else buffer[aim.rows]
            found.append(rows[:, :, : aim.length])
        return found[0] if self._quantized is None else tuple(found)

    def _made(self, store: int, like: Buffers) -> Buffers:
        """Buffers, made like others of their kind where there are none yet."""
        buffers = self._stores[store]
        if buffers is None:
            shapes = [(self._rows, part.shape[1], self._positions, part.shape[3]) for part in like]
            buffers = tuple(mx.zeros(shape, part.dtype) for shape, part in zip(shapes, like, strict=True))
            self._stores[store] = buffers
        return buffers

    def reserve(self, rows: int, positions: int) -> None:
        more = [(0, rows - self._rows), (0, 0), (0, positions - self._positions), (0, 0)]
        self._rows, self._positions = rows, positions
        for store, buffers in enumerate(self._stores):
            if buffers is not None:
                # one after the other, so that only one exists twice
                self._stores[store] = tuple(_done(mx.pad(buffer, more)) for buffer in buffers)

    def copy(self, other: KeysAndValues, source: Array, target: Array, length: int) -> None:
        read, written = mx.array(source), mx.array(target)
        for store, theirs in enumerate(other._stores):
            if theirs is not None:
                for own, part in zip(self._made(store, theirs), theirs, strict=True):
                    own[written, :, :length] = part[read, :, :length]

    def drop(self) -> None:
        self._stores = [None, None]
        self._rows = self._positions = 0

    def arrays(self) -> Iterator[mx.array]:
        yield from (buffer for buffers in self._stores if buffers is not None for buffer in buffers)


class MLXRowLayer(Layer):
    """What a layer with keys and values is handed."""

    def __init__(self, owner: KeysAndValues, aim: Aim) -> None:
        super().__init__(aim.view)
        self._owner, self._aim = owner, aim
        self._seen: tuple[Any, Any] = (None, None)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Any:
        self._seen = self._owner.write(self._aim, keys, values)
        return self._seen

    def keys_and_values(self) -> tuple[Any, Any]:
        return self._seen


class QuantizedRowLayer(MLXRowLayer):
    """As `MLXRowLayer`; by these two attributes mlx-lm's attention knows that keys and values are quantized."""

    def __init__(self, owner: KeysAndValues, aim: Aim, how: Quantized) -> None:
        super().__init__(owner, aim)
        self.bits, self.group_size = how.bits, how.group


class Recurrent(MLXLayerState):
    """Arrays of shape (rows, …) as of each row's last token, in mlx-lm's `ArraysCache`.

    Args:
        size: how many arrays.
    """

    cuts = False

    def __init__(self, size: int) -> None:
        self._rows = 0
        self._buffers: list[mx.array | None] = [None] * size

    def handed(self, aim: Aim) -> Any:
        cache: Any = mlx_lm("models.cache").ArraysCache(len(self._buffers))
        # layers count it down, each its own
        cache.lengths = aim.lengths
        if not aim.fresh.all():
            for index, buffer in enumerate(self._buffers):
                if buffer is not None:
                    cache[index] = _where(aim.fresh, mx.zeros((), buffer.dtype), self._of(buffer, aim))
        return cache

    def take(self, aim: Aim, given: Any) -> None:
        for index, new in enumerate(given.cache):
            if new is not None:
                self._buffers[index] = self._written(self._buffers[index], aim, new)

    def _written(self, buffer: mx.array | None, aim: Aim, new: mx.array) -> mx.array:
        if buffer is None:
            buffer = mx.zeros((self._rows, *new.shape[1:]), new.dtype)
        new = _where(aim.counts == 0, self._of(buffer, aim), new)
        if not aim.leading:
            buffer[aim.rows] = new
        elif len(new) == self._rows:
            return new
        else:
            buffer[: len(new)] = new
        return buffer

    def _of(self, buffer: mx.array, aim: Aim) -> mx.array:
        """The pass's rows of a buffer."""
        if not aim.leading:
            return buffer[aim.rows]
        return buffer if len(aim.rows) == self._rows else buffer[: len(aim.rows)]

    def reserve(self, rows: int, positions: int) -> None:
        for index, buffer in enumerate(self._buffers):
            if buffer is not None and rows > self._rows:
                more = [(0, rows - self._rows), *[(0, 0)] * (buffer.ndim - 1)]
                self._buffers[index] = _done(mx.pad(buffer, more))
        self._rows = rows

    def copy(self, other: Recurrent, source: Array, target: Array, length: int) -> None:
        read, written = mx.array(source), mx.array(target)
        for index, theirs in enumerate(other._buffers):
            if theirs is not None:
                own = self._buffers[index]
                if own is None:
                    own = mx.zeros((self._rows, *theirs.shape[1:]), theirs.dtype)
                own[written] = theirs[read]
                self._buffers[index] = own

    def drop(self) -> None:
        self._rows = 0
        self._buffers = [None] * len(self._buffers)

    def arrays(self) -> Iterator[mx.array]:
        yield from (buffer for buffer in self._buffers if buffer is not None)


class Several(MLXLayerState):
    """State of several kinds in one layer, in mlx-lm's `CacheList`."""

    def __init__(self, parts: Sequence[MLXLayerState]) -> None:
        self._parts = parts
        self.cuts = all(part.cuts for part in parts)

    def handed(self, aim: Aim) -> Any:
        return mlx_lm("models.cache").CacheList(*(part.handed(aim) for part in self._parts))

    def take(self, aim: Aim, given: Any) -> None:
        for part, own in zip(self._parts, given.caches, strict=True):
            part.take(aim, own)

    def reserve(self, rows: int, positions: int) -> None:
        for part in self._parts:
            part.reserve(rows, positions)

    def copy(self, other: Several, source: Array, target: Array, length: int) -> None:
        for part, theirs in zip(self._parts, other._parts, strict=True):
            part.copy(theirs, source, target, length)

    def drop(self) -> None:
        for part in self._parts:
            part.drop()

    def arrays(self) -> Iterator[mx.array]:
        for part in self._parts:
            yield from part.arrays()

    @property
    def position_nbytes(self) -> int:
        return sum(part.position_nbytes for part in self._parts)


def layer_state(cache: Any, quantized: Quantized | None = None) -> MLXLayerState:
    """The state of a layer for which mlx-lm keeps such a cache.

    Args:
        cache: mlx-lm's.
        quantized: how keys and values are kept; None for as they are.
    """
    if is_recurrent(cache):
        return Recurrent(len(cache.cache))
    if is_several(cache):
        return Several([layer_state(part, quantized) for part in cache.caches])
    return KeysAndValues(quantized)


def _where(some: Array, chosen: mx.array, others: mx.array) -> mx.array:
    """(n, …): `chosen` in some of the rows, (n,) booleans, `others` in the others."""
    if not some.any():
        return others
    return mx.where(mx.array(some).reshape(-1, *[1] * (others.ndim - 1)), chosen, others)


def _done(array: mx.array) -> mx.array:
    mx.eval(array)
    return array
