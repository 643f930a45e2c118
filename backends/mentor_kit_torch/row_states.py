"""The states of all layers of a transformers model in rows.

A forward pass names its rows and the positions of its tokens; what it attends to is given by an explicit mask
(`causal_mask`), so rows may be of any length. Positions beyond a row's length hold garbage that no mask lets through.
The first positions may be kept elsewhere, once for all rows (`TorchRowStates.base`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, cache_utils
from transformers.cache_utils import Cache, DummyLayer

from mentor_kit.backend.row_device import Array
from mentor_kit.backend.row_state import RowStates
from mentor_kit_torch.attention_states import CachedKeysAndValues
from mentor_kit_torch.layer_states import RowAim, TorchLayerState
from mentor_kit_torch.recurrent_states import CachedRecurrent, RecurrentKeysAndValues


class TorchRowStates(RowStates[TorchLayerState]):
    """Sequences of a model in rows. `aim_at` says what the next forward pass writes and reads,
    `take_back` follows it.

    Args:
        config: the configuration of the model's text part; None for a model that keeps nothing in rows.

    Raises:
        NotImplementedError: a layer keeps something that is not known.
        KeyError: transformers has no cache for a kind of layer.
    """

    def __init__(self, config: Any) -> None:
        self.aim = RowAim()
        """What the layers look at in a pass."""
        own = [] if config is None else [layer_state(layer, self.aim) for layer in DynamicCache(config=config).layers]
        super().__init__([layer for layer in own if layer is not None])
        self.cache = Cache(layers=[DummyLayer() if layer is None else layer for layer in own])
        """All of them as the model takes them."""
        self._uncut = [layer for layer in self.layers if not layer.cuts]

    @property
    def base(self) -> int:
        """Positions that come before a row's first place, and are kept elsewhere."""
        return self.aim.base

    @base.setter
    def base(self, length: int) -> None:
        self.aim.base = length

    @property
    def moves(self) -> int:
        """Changes whenever keys and values lie elsewhere than before."""
        return sum(layer.moves for layer in self.layers)

    @property
    def forgotten(self) -> bool:
        """Whether there are buffers in which nothing counts."""
        return not self.rows and self.nbytes > 0

    @property
    def position_nbytes(self) -> int:
        """Those of the bytes that grow with the positions."""
        return sum(layer.position_nbytes for layer in self.layers)

    def aim_at(
        self,
        where: Tensor,
        length: int,
        chosen: Tensor | None = None,
        fresh: Tensor | None = None,
        idle: Tensor | None = None,
    ) -> None:
        """The next pass writes positions `where` (n, T), reads those from `base` to `length`.

        Its rows are the first n, or those `chosen` (n,). Layers that cannot be cut back begin rows `fresh` (k,) with
        it, and leave rows `idle` (k,) as they are.
        """
        # here rather than in each layer
        aim = self.aim
        aim.places = where - aim.base
        aim.written = torch.arange(len(where), device=where.device) if chosen is None else chosen
        aim.length, aim.chosen = length - aim.base, chosen
        aim.fresh, aim.idle = fresh, idle
        for layer in self._uncut:
            layer.start()

    def copy(self, other: RowStates[TorchLayerState], source: Array, target: Array, length: int) -> None:
        try:
            super().copy(other, source, target, length)
        finally:
            self.aim.copied = None

    def take_back(self) -> None:
        """Keep what the pass left."""
        for layer in self._uncut:
            layer.finish()

    def room_for(self, rows: int, positions: int) -> bool:
        """Whether so many rows of so many positions need no other buffers than there are."""
        return all(layer.room_for(rows, positions) for layer in self.layers)

    def forget(self) -> None:
        """Hold nothing any more; buffers stay, and are used again for as many rows and positions, or for fewer."""
        for layer in self.layers:
            layer.forget()
        self.ends, self.positions, self.base = self.ends[:0], 0, 0

    def take_base(self, other: TorchRowStates) -> None:
        """Give every row its own copy of the positions before `base`: those of other states' first row."""
        for layer, theirs in zip(self.layers, other.layers, strict=True):
            assert isinstance(layer, CachedKeysAndValues)
            assert isinstance(theirs, CachedKeysAndValues)
            layer.take_base(theirs)
        self.positions += self.base
        self.base = 0

    def drop(self) -> None:
        """Free everything."""
        super().drop()
        self.base = 0


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


def causal_mask(positions: Tensor, keys: Tensor) -> Tensor:
    """(n, 1, T, L): the token at a position (n, T) attends to that position and all keys (1, L) before it."""
    return (keys.unsqueeze(1) <= positions.unsqueeze(-1)).unsqueeze(1)
