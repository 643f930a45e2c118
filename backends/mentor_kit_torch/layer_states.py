"""What the layers of a transformers model keep of sequences in rows.

transformers says by the class of a layer's cache of what kind its state is. For each kind there is a state here with
buffers for all rows, which is a cache layer of transformers' itself, so that the model writes to it in a pass:

| transformers' `DynamicCache` has | here |
| --- | --- |
| `DynamicLayer`, `DynamicSlidingWindowLayer` | `CachedKeysAndValues`; the positions of windows are all kept |
| `LinearAttentionLayer`: recurrence, convolution | `CachedRecurrent` |
| both in one layer | `RecurrentKeysAndValues` |
| `DummyLayer`: experts alone, or attention to the keys of another layer | none |

Layers of other classes are not known, and models with them are run whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import CacheLayerMixin, LinearAttentionCacheLayerMixin

from mentor_kit.backend.row_device import Array
from mentor_kit.backend.row_state import LayerState


@dataclass
class RowAim:
    """Where the next pass of n sequences of T tokens each reads and writes; all layers of a model share one."""

    places: Tensor = field(default_factory=lambda: torch.empty(0))
    """(n, T), counted from `base`: where keys and values are written."""
    written: Tensor = field(default_factory=lambda: torch.empty(0))
    """(n,): the rows of the sequences."""
    chosen: Tensor | None = None
    """(n,): the same, where they are not the first n."""
    length: int = 0
    """Keys are read at places below it, counted from `base`."""
    base: int = 0
    """Positions that come before a row's first place, and are kept elsewhere."""
    fresh: Tensor | None = None
    """(k,): rows that begin with this pass; None for none."""
    idle: Tensor | None = None
    """(k,): rows of the pass that take in nothing; None for none."""


class TorchLayerState(LayerState):
    """What one layer keeps of all rows, in buffers of PyTorch."""

    @property
    def position_nbytes(self) -> int:
        """Those of the bytes that grow with the positions."""
        return self.nbytes if self.cuts else 0

    moves: int = 0
    """How often its buffers were allocated or freed: what was recorded with them before is of no use."""

    def room_for(self, rows: int, positions: int) -> bool:
        """Whether so many rows of so many positions need no other buffers than there are."""
        return False

    def forget(self) -> None:
        """Hold nothing any more. Buffers may stay, to be used again for as many rows and positions, or for fewer."""
        self.drop()

    def start(self) -> None:
        """Prepare for a pass that is aimed at."""
        return None

    def finish(self) -> None:
        """Take back what the pass left."""
        return None


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
        self._forgotten = False
        """Whether nothing in the buffers counts."""
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
        if self._forgotten and not self.room_for(rows, positions):
            CachedKeysAndValues.drop(self)
        self._forgotten = False
        self._rows, self._positions = rows, positions
        if not self.is_initialized or self.room_for(rows, positions):
            return
        if self._both is not None:
            self._hold(_resized(self._both, rows, positions))
        else:
            self._hold_apart(_resized(self.keys, rows, positions), _resized(self.values, rows, positions))

    def forget(self) -> None:
        self._forgotten = self.is_initialized
        self._rows = self._positions = 0

    def copy(self, other: CachedKeysAndValues, source: Array, target: Array, length: int) -> None:
        length -= self.aim.base
        if length <= 0 or not other.is_initialized:
            return
        if not self.is_initialized:
            CachedKeysAndValues.lazy_initialization(self, other.keys, other.values)
        written = _index(target, self.keys)
        for own, theirs in ((self.keys, other.keys), (self.values, other.values)):
            found = _rows_of(theirs[:, :, :length], source, apart=other is not self)
            own[:, :, :length].index_copy_(0, written, found)

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
        self.is_initialized = self._forgotten = False
        self._rows = self._positions = 0
        self.moves += 1


class AssignedStates(LinearAttentionCacheLayerMixin):  # type: ignore[misc]
    """State of a recurrence and a convolution as transformers keeps it, but assigned rather than written in place.

    So a pass can be differentiated through the state that an earlier one left.

    Args:
        count: how many states of a convolution, and of a recurrence, the layer has.
    """

    def __init__(self, count: int) -> None:
        LinearAttentionCacheLayerMixin.__init__(self, number_of_states=count)

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        return None

    def update_conv_state(
        self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **kwargs: Any
    ) -> Tensor:
        """The latest inputs of a convolution behind those that are held, which they replace."""
        size = conv_kernel_size or conv_states.shape[-1]
        held = self.conv_states[state_idx] if self.has_previous_state[state_idx] else None
        if held is None:
            found = torch.nn.functional.pad(conv_states, (max(size - conv_states.shape[-1], 0), 0))
        else:
            found = torch.cat([held.to(conv_states.dtype), conv_states], dim=-1)
        self.conv_states[state_idx] = found[..., -size:]
        self.has_previous_state[state_idx] = True
        return found

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **kwargs: Any) -> Tensor:
        """The state of a recurrence, which replaces the one that is held."""
        self.recurrent_states[state_idx] = recurrent_states
        self.has_previous_state[state_idx] = True
        return recurrent_states

    def parts(self) -> Iterator[tuple[str, int, Tensor]]:
        """All states that are held: the attribute that each is in, its key there, and the state itself."""
        for name in ("conv_states", "recurrent_states"):
            for index, state in getattr(self, name).items():
                if state is not None:
                    yield name, index, state


class CachedRecurrent(AssignedStates, TorchLayerState):
    """Arrays of shape (rows, …) as of each row's last token.

    Args:
        aim: of the passes.
        count: as in `AssignedStates`.
    """

    cuts = False

    def __init__(self, aim: RowAim, count: int) -> None:
        AssignedStates.__init__(self, count)
        self.aim = aim
        self._buffer_rows = 0
        self._conv_buffers: dict[int, Tensor] = {}
        self._recurrent_buffers: dict[int, Tensor] = {}
        self._idle: list[tuple[Tensor, Tensor]] = []
        """Buffers, and what they hold of the pass's idle rows."""

    def start(self) -> None:
        aim = self.aim
        for held, buffers in self._pairs():
            for index, buffer in buffers.items():
                if aim.fresh is not None:
                    buffer.index_fill_(0, aim.fresh, 0)
                if aim.idle is not None:
                    self._idle.append((buffer, buffer.index_select(0, aim.idle)))
                # a pass over one token writes to what it is given
                chosen = aim.chosen
                held[index] = buffer[: len(aim.written)] if chosen is None else buffer.index_select(0, chosen)
                self.has_previous_state[index] = True

    def finish(self) -> None:
        aim = self.aim
        for held, buffers in self._pairs():
            for index, state in held.items():
                if state is not None:
                    self._keep(buffers, index, state)
                    held[index] = None
        for index in self.has_previous_state:
            self.has_previous_state[index] = False
        for buffer, states in self._idle:
            assert aim.idle is not None
            buffer.index_copy_(0, aim.idle, states)
        self._idle = []

    def _keep(self, buffers: dict[int, Tensor], index: int, state: Tensor) -> None:
        if index not in buffers:
            buffers[index] = state.new_zeros((self._buffer_rows, *state.shape[1:]))
        buffer = buffers[index]
        if self.aim.chosen is not None:
            buffer.index_copy_(0, self.aim.chosen, state.to(buffer.dtype))
        elif state.data_ptr() != buffer.data_ptr():
            buffer[: len(state)] = state

    def _pairs(self) -> tuple[tuple[dict[int, Any], dict[int, Tensor]], ...]:
        return (self.conv_states, self._conv_buffers), (self.recurrent_states, self._recurrent_buffers)

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for _, buffers in self._pairs() for buffer in buffers.values())

    def reserve(self, rows: int, positions: int) -> None:
        for _, buffers in self._pairs():
            for index, buffer in buffers.items():
                if rows > len(buffer):
                    buffers[index] = torch.cat([buffer, buffer.new_zeros((rows - len(buffer), *buffer.shape[1:]))])
        self._buffer_rows = rows

    def copy(self, other: CachedRecurrent, source: Array, target: Array, length: int) -> None:
        for (_, own), (_, theirs) in zip(self._pairs(), other._pairs(), strict=True):
            for index, buffer in theirs.items():
                if index not in own:
                    own[index] = buffer.new_zeros((self._buffer_rows, *buffer.shape[1:]))
                found = _rows_of(buffer, source, apart=other is not self)
                own[index].index_copy_(0, _index(target, buffer), found)

    def drop(self) -> None:
        self._buffer_rows = 0
        for _, buffers in self._pairs():
            buffers.clear()


class RecurrentKeysAndValues(CachedRecurrent, CachedKeysAndValues):
    """Both in one layer.

    Args:
        aim: of the passes.
        count: as in `AssignedStates`.
    """

    cuts = False

    def __init__(self, aim: RowAim, count: int) -> None:
        CachedKeysAndValues.__init__(self, aim)
        CachedRecurrent.__init__(self, aim, count)

    @property
    def nbytes(self) -> int:
        return CachedRecurrent.nbytes.fget(self) + self.position_nbytes  # type: ignore[attr-defined,no-any-return]

    @property
    def position_nbytes(self) -> int:
        return CachedKeysAndValues.nbytes.fget(self)  # type: ignore[attr-defined,no-any-return]

    def reserve(self, rows: int, positions: int) -> None:
        CachedKeysAndValues.reserve(self, rows, positions)
        CachedRecurrent.reserve(self, rows, positions)

    def forget(self) -> None:
        self.drop()

    def copy(self, other: Any, source: Array, target: Array, length: int) -> None:
        CachedKeysAndValues.copy(self, other, source, target, length)
        CachedRecurrent.copy(self, other, source, target, length)

    def drop(self) -> None:
        CachedKeysAndValues.drop(self)
        CachedRecurrent.drop(self)


def layer_state(layer: Any, aim: RowAim) -> TorchLayerState | None:
    """The state of a layer for which transformers keeps such a cache layer; None where it keeps nothing.

    Raises:
        NotImplementedError: it is of a kind that is not known.
    """
    if isinstance(layer, cache_utils.DummyLayer):
        return None
    if type(layer) in (cache_utils.DynamicLayer, cache_utils.DynamicSlidingWindowLayer):
        return CachedKeysAndValues(aim)
    if type(layer) is cache_utils.LinearAttentionLayer:
        return CachedRecurrent(aim, layer.number_of_states)
    if isinstance(layer, cache_utils.LinearAttentionLayer) and isinstance(layer, cache_utils.DynamicLayer):
        return RecurrentKeysAndValues(aim, layer.number_of_states)
    raise NotImplementedError(f"layers that keep what a {type(layer).__name__} does are not known")


def _index(rows: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows)).to(like.device)


def _rows_of(buffer: Tensor, rows: Array, *, apart: bool) -> Tensor:
    """The rows (n, …) of a buffer; where all are one, and put apart from it, without copies."""
    if apart and (rows == rows[0]).all():
        return buffer[rows[0] : rows[0] + 1].expand(len(rows), *[-1] * (buffer.ndim - 1))
    return buffer.index_select(0, _index(rows, buffer))


def _resized(buffer: Tensor, rows: int, positions: int) -> Tensor:
    """A buffer (…, rows, heads, positions, width) of so many rows and positions, with what both have room for."""
    *before, old_rows, heads, old_positions, width = buffer.shape
    new = buffer.new_zeros((*before, rows, heads, positions, width))
    both = (..., slice(min(rows, old_rows)), slice(None), slice(min(positions, old_positions)), slice(None))
    new[both] = buffer[both]
    return new


def _preceded(buffer: Tensor, begin: Tensor) -> Tensor:
    return torch.cat([begin.expand(len(buffer), -1, -1, -1), buffer], dim=2)
