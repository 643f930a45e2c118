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
from mentor_kit_torch.determinism import each_once
from mentor_kit_torch.device_copy import to_device


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
    copied: tuple[Array, Array, Tensor, Tensor] | None = None
    """The rows of a copy that is being made, source and target, and both on the device; None between copies."""

    def on_device(self, source: Array, target: Array, like: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of a copy as indices on the device of a tensor: they go there once for all layers."""
        known = self.copied
        if known is None or known[0] is not source or known[1] is not target:
            rows = [torch.from_numpy(np.ascontiguousarray(each)) for each in (source, target)]
            read, written = to_device(rows, like.device)
            known = self.copied = source, target, read, written
        return known[2:]


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


def copy_rows(
    own: Tensor, theirs: Tensor, source: tuple[Array, Tensor], target: Tensor, *, apart: bool, dim: int = 0
) -> None:
    """Copy rows of a buffer to rows of another one, or of the same; all are read before any is written.

    Args:
        own: to write.
        theirs: to read.
        source: rows of it (n,), and as an index on the device.
        target: rows (n,).
        apart: whether the buffers are two: where all rows are one, they are read without copies then.
        dim: the rows' dimension.
    """
    rows, index = source
    if apart and (rows == rows[0]).all():
        shape = [*theirs.shape]
        shape[dim] = len(rows)
        found = theirs.narrow(dim, int(rows[0]), 1).expand(shape)
    else:
        found = theirs.index_select(dim, index)
    with each_once(own):
        own.index_copy_(dim, target, found)
