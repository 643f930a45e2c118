"""What the layers of a transformers model keep of sequences in rows.

transformers says by the class of a layer's cache of what kind its state is. For each kind there is a state here with
buffers for all rows, which is a cache layer of transformers' itself, so that the model writes to it in a pass:

| transformers' `DynamicCache` has | here |
| --- | --- |
| `DynamicLayer`, `DynamicSlidingWindowLayer` | `attention_states.CachedKeysAndValues`; windows keep all positions |
| `LinearAttentionLayer`: recurrence, convolution | `recurrent_states.CachedRecurrent` |
| both in one layer | `recurrent_states.RecurrentKeysAndValues` |
| `DummyLayer`: experts alone, or attention to the keys of another layer | none |

Layers of other classes are not known, and models with them are run whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

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

    moves: int = 0
    """How often its buffers were allocated or freed: what was recorded with them before is of no use."""

    @property
    def position_nbytes(self) -> int:
        """Those of the bytes that grow with the positions."""
        return self.nbytes if self.cuts else 0

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


def index_of(rows: Array, like: Tensor) -> Tensor:
    """Rows (n,) as an index on the device of a tensor."""
    return torch.from_numpy(np.ascontiguousarray(rows)).to(like.device)


def rows_of(buffer: Tensor, rows: Array, *, apart: bool) -> Tensor:
    """The rows (n, …) of a buffer; where all are one, and put apart from it, without copies."""
    if apart and (rows == rows[0]).all():
        return buffer[rows[0] : rows[0] + 1].expand(len(rows), *[-1] * (buffer.ndim - 1))
    return buffer.index_select(0, index_of(rows, buffer))
