"""Recurrences and convolutions in rows: state of fixed size, as of the last token (`mentor_kit_torch.layer_states`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from mentor_kit.backend.row_device import Array
from mentor_kit_torch.attention_states import CachedKeysAndValues
from mentor_kit_torch.determinism import each_once
from mentor_kit_torch.layer_states import RowAim, TorchLayerState, copy_rows


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
            with each_once(buffer):
                buffer.index_copy_(0, aim.idle, states)
        self._idle = []

    def _keep(self, buffers: dict[int, Tensor], index: int, state: Tensor) -> None:
        if index not in buffers:
            buffers[index] = state.new_zeros((self._buffer_rows, *state.shape[1:]))
        buffer = buffers[index]
        if self.aim.chosen is not None:
            with each_once(buffer):
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
                read, written = self.aim.on_device(source, target, buffer)
                copy_rows(own[index], buffer, (source, read), written, apart=other is not self)

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
