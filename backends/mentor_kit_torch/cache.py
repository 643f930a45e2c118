"""Keys and values of many sequences, a row each, in buffers that are written in place.

A forward pass names its rows and the positions of its tokens; what it attends to is given by an explicit mask
(`causal_mask`), so rows may be of any length. Positions beyond a row's length hold garbage that no mask lets through.
The first positions may be kept elsewhere, once for all rows (`TorchRowCache.base`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from mentor_kit.backend.row_device import Array
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.self_check import agree, trial_tokens


class KeyValueRows(CacheLayerMixin):  # type: ignore[misc]
    """One layer's buffers, of shape (rows, heads, positions, width)."""

    is_sliding = False

    def __init__(self, owner: TorchRowCache) -> None:
        super().__init__()
        self.owner = owner

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        shape = (self.owner.rows, key_states.shape[1], self.owner.positions)
        self.keys = key_states.new_zeros((*shape, key_states.shape[-1]))
        self.values = value_states.new_zeros((*shape, value_states.shape[-1]))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, places = self.owner.written, self.owner.places
        self.keys[rows.unsqueeze(1), :, places] = key_states.transpose(1, 2)
        self.values[rows.unsqueeze(1), :, places] = value_states.transpose(1, 2)
        count, length = len(rows), self.owner.length - self.owner.base
        if self.owner.chosen is None:
            return self.keys[:count, :, :length], self.values[:count, :, :length]
        return self.keys[rows, :, :length], self.values[rows, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.owner.length - self.owner.base, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


class TorchRowCache(Cache):  # type: ignore[misc]
    """All layers' buffers. `aim` says what the next forward pass writes and reads."""

    def __init__(self, layers: int) -> None:
        self.rows = 0
        self.positions = 0
        """Positions of each row, behind `base`."""
        self.base = 0
        """Positions that come before a row's first place, and are kept elsewhere."""
        self.moves = 0
        """How often the buffers changed."""
        self.places: Tensor = torch.empty(0)
        """(n, T), counted from `base`: where the next pass writes."""
        self.written: Tensor = torch.empty(0)
        """(n,): the rows it writes to."""
        self.chosen: Tensor | None = None
        self.length = 0
        super().__init__(layers=[KeyValueRows(self) for _ in range(layers)])

    def aim(self, where: Tensor, length: int, chosen: Tensor | None = None) -> None:
        """The next pass writes positions `where` (n, T), reads those from `base` to `length`.

        Its rows are the first n, or those `chosen` (n,).
        """
        # here rather than in each layer
        self.places = where - self.base
        self.written = torch.arange(len(where), device=where.device) if chosen is None else chosen
        self.length, self.chosen = length, chosen

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._filled())

    def reserve(self, rows: int, positions: int) -> None:
        """Grow to so many rows and positions of each behind `base`; what is there is kept."""
        rows, positions = max(rows, self.rows), max(positions, self.positions)
        if (rows, positions) == (self.rows, self.positions):
            return
        for layer in self._filled():
            layer.keys = _grown(layer.keys, rows, positions)
            layer.values = _grown(layer.values, rows, positions)
        self.rows, self.positions = rows, positions
        self.moves += 1

    def copy(self, source: Array, target: Array, length: int) -> None:
        """Copy the positions up to `length` of rows `source` (n,) to rows `target` (n,); all are read first."""
        own = max(length - self.base, 0)
        if not len(source) or not own or not (filled := self._filled()):
            return
        read, written = (torch.from_numpy(rows).to(filled[0].keys.device) for rows in (source, target))
        for layer in filled:
            for buffer in (layer.keys, layer.values):
                held = buffer[:, :, :own]
                held.index_copy_(0, written, held.index_select(0, read))

    def take(self, other: TorchRowCache, target: Array, length: int) -> None:
        """Copy the first `length` positions of another cache's first row to rows `target` (n,)."""
        for layer, source in zip(self.layers, other.layers, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(source.keys, source.values)
            rows = torch.from_numpy(target).to(source.keys.device)
            layer.keys[rows, :, :length] = source.keys[:1, :, :length]
            layer.values[rows, :, :length] = source.values[:1, :, :length]

    def take_base(self, other: TorchRowCache) -> None:
        """Give every row its own copy of the positions before `base`: those of another cache's first row."""
        for layer, source in zip(self.layers, other.layers, strict=True):
            if layer.is_initialized:
                layer.keys = _preceded(layer.keys, source.keys[:1, :, : self.base])
                layer.values = _preceded(layer.values, source.values[:1, :, : self.base])
        self.positions += self.base
        self.base = 0
        self.moves += 1

    def drop(self) -> None:
        """Free everything."""
        for layer in self.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False
        self.rows = self.positions = self.base = 0
        self.moves += 1

    def _filled(self) -> list[Any]:
        return [layer for layer in self.layers if layer.is_initialized]


def causal_mask(positions: Tensor, keys: Tensor) -> Tensor:
    """(n, 1, T, L): the token at a position (n, T) attends to that position and all keys (1, L) before it."""
    return (keys.unsqueeze(1) <= positions.unsqueeze(-1)).unsqueeze(1)


def _grown(buffer: Tensor, rows: int, positions: int) -> Tensor:
    new = buffer.new_zeros((rows, buffer.shape[1], positions, buffer.shape[3]))
    new[: buffer.shape[0], :, : buffer.shape[2]] = buffer
    return new


def _preceded(buffer: Tensor, begin: Tensor) -> Tensor:
    return torch.cat([begin.expand(len(buffer), -1, -1, -1), buffer], dim=2)


@torch.no_grad()
def keeps_rows(lm: TorchLMWrapper) -> bool:
    """Whether a model gives the same when its keys and values are kept in rows; found out by trying it."""
    if not lm.masks.expressible:
        return False
    ids, places = trial_tokens(lm)
    whole = lm.logits(lm.hidden(ids, places)).float()
    cache = TorchRowCache(lm.layers)
    cache.reserve(2, 5)
    try:
        for start, end in ((0, 3), (3, 5)):
            where, keys = places[:, start:end], places[:1, :end]
            cache.aim(where, end)
            mask = lm.mask(causal_mask(where, keys), where, keys)
            last = lm.logits(lm.hidden(ids[:, start:end], where, mask=mask, cache=cache)).float()
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return False
    return agree(lm, last, whole[:, 3:])
