"""Keys and values of attention in rows: the state of a layer that attends (`mentor_kit_torch.layer_states`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from mentor_kit.backend.row_device import Array
from mentor_kit_torch.determinism import each_once
from mentor_kit_torch.layer_states import RowAim, TorchLayerState, copy_rows


class CachedKeysAndValues(CacheLayerMixin, TorchLayerState):  # type: ignore[misc]
    """Keys and values of shape (rows, heads, positions, width), written in place.

    Args:
        aim: of the passes.
    """

    is_sliding = False

    def __init__(self, aim: RowAim) -> None:
        CacheLayerMixin.__init__(self)
        self.aim = aim
        self._rows = self._positions = 0
        self._both: Tensor | None = None
        """Keys and values in one buffer, of which `keys` and `values` are the halves, off the CPU."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        shape = (self._rows, key_states.shape[1], self._positions)
        if key_states.device.type != "cpu" and key_states.shape == value_states.shape:
            self._hold(key_states.new_zeros((2, *shape, key_states.shape[-1])))
        else:
            self._hold_apart(
                key_states.new_zeros((*shape, key_states.shape[-1])),
                value_states.new_zeros((*shape, value_states.shape[-1])),
            )
        self.is_initialized = True

    def _hold(self, both: Tensor) -> None:
        self._both = both
        self._hold_apart(*both)

    def _hold_apart(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values
        self.moves += 1

    def write(self, key: Tensor, value: Tensor, both: Tensor | None = None) -> None:
        """Write keys and values (n, heads, width) of one token of each row that is aimed at.

        Args:
            key: theirs.
            value: theirs.
            both: (n, 2 · heads, width), the same behind each other, where they are: written at once then.
        """
        if not self.is_initialized:
            self.lazy_initialization(key.unsqueeze(2), value.unsqueeze(2))
        rows, places = self.aim.written, self.aim.places[:, 0]
        with each_once(key):
            if self._both is not None and both is not None:
                self._both[:, rows, :, places] = both.reshape(len(both), 2, -1, both.shape[-1])
            else:
                self.keys[rows, :, places] = key
                self.values[rows, :, places] = value

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            CachedKeysAndValues.lazy_initialization(self, key_states, value_states)
        aim = self.aim
        rows, places = aim.written, aim.places
        with each_once(key_states):
            self.keys[rows.unsqueeze(1), :, places] = key_states.transpose(1, 2)
            self.values[rows.unsqueeze(1), :, places] = value_states.transpose(1, 2)
        count, length = len(rows), aim.length
        if aim.chosen is None:
            return self.keys[:count, :, :length], self.values[:count, :, :length]
        return self.keys[rows, :, :length], self.values[rows, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.aim.length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes if self.is_initialized else 0

    def room_for(self, rows: int, positions: int) -> bool:
        return self.is_initialized and self.keys.shape[0] >= rows and self.keys.shape[2] >= positions

    def reserve(self, rows: int, positions: int) -> None:
        if not self._rows and not self.room_for(rows, positions):
            CachedKeysAndValues.drop(self)  # nothing in the buffers counts
        self._rows, self._positions = rows, positions
        if not self.is_initialized or self.room_for(rows, positions):
            return
        if self._both is not None:
            self._hold(_resized(self._both, rows, positions))
        else:
            self._hold_apart(_resized(self.keys, rows, positions), _resized(self.values, rows, positions))

    def forget(self) -> None:
        self._rows = self._positions = 0

    def copy(self, other: CachedKeysAndValues, source: Array, target: Array, length: int) -> None:
        length -= self.aim.base
        if length <= 0 or not other.is_initialized:
            return
        if not self.is_initialized:
            CachedKeysAndValues.lazy_initialization(self, other.keys, other.values)
        read, written = self.aim.on_device(source, target, self.keys)
        pairs, dim = [(self.keys, other.keys), (self.values, other.values)], 0
        if self._both is not None and other._both is not None:
            pairs, dim = [(self._both, other._both)], 1
        for own, theirs in pairs:
            kept, found = own[..., :length, :], theirs[..., :length, :]
            copy_rows(kept, found, (source, read), written, apart=other is not self, dim=dim)

    def take_base(self, other: CachedKeysAndValues) -> None:
        """Give every row its own copy of the positions before the base: those of another state's first row."""
        if not self.is_initialized:
            self._positions += self.aim.base
            return
        held = (slice(self._rows), slice(None), slice(self._positions))
        keys, values = (
            _preceded(own[held], theirs[:1, :, : self.aim.base])
            for own, theirs in ((self.keys, other.keys), (self.values, other.values))
        )
        self._positions += self.aim.base
        if self._both is not None:
            self._hold(torch.stack([keys, values]))
        else:
            self._hold_apart(keys, values)

    def drop(self) -> None:
        self._both = None
        self.keys = self.values = None  # type: ignore[assignment]
        self.is_initialized = False
        self._rows = self._positions = 0
        self.moves += 1


def _resized(buffer: Tensor, rows: int, positions: int) -> Tensor:
    """A buffer (…, rows, heads, positions, width) of so many rows and positions, with what both have room for."""
    *before, old_rows, heads, old_positions, width = buffer.shape
    new = buffer.new_zeros((*before, rows, heads, positions, width))
    both = (..., slice(min(rows, old_rows)), slice(None), slice(min(positions, old_positions)), slice(None))
    new[both] = buffer[both]
    return new


def _preceded(buffer: Tensor, begin: Tensor) -> Tensor:
    return torch.cat([begin.expand(len(buffer), -1, -1, -1), buffer], dim=2)
