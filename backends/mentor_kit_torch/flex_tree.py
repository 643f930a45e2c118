"""Attention along a tree by PyTorch's FlexAttention: one kernel for all nodes, forwards, and its gradient.

Packed depth first, all that is below a node is the block behind it. So a key is attended to from its own place up to
the end of what is below its node, its `stop`:

    query q attends to key k   if and only if   k <= q < stop[k]

FlexAttention skips blocks of keys to which no query of a block attends, and asks the condition only in blocks where
some do and some do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

#: Queries, and keys, of a block.
BLOCK = 128

Lists = tuple[Tensor, Tensor]
"""(1, 1, n) how many blocks meet each of n blocks, and (1, 1, n, n) which, these first; int32."""


@dataclass(frozen=True)
class TreeBlocks:
    """Which blocks of M packed tokens meet."""

    stops: Tensor
    """(M,): one behind the last query that attends to each key."""
    some: Lists
    """Blocks of keys of which a block of queries sees a part."""
    some_of_keys: Lists
    """The same by blocks of keys."""
    whole: Lists
    """Blocks of keys that all of a block of queries see."""
    whole_of_keys: Lists
    _masks: list[BlockMask] = field(default_factory=list, init=False, repr=False)
    """The mask, built when it is first needed: it is the same for all layers."""

    @staticmethod
    def of(stops: NDArray[np.int64], size: int = BLOCK) -> TreeBlocks:
        """The blocks of a tree, on the CPU.

        Args:
            stops: (M,).
            size: of a block.
        """
        count = -(-len(stops) // size)
        # behind the end there is nothing to see
        padded = np.zeros(count * size, dtype=np.int64)
        padded[: len(stops)] = stops
        by_block = padded.reshape(count, size)
        starts = np.arange(count) * size
        behind = starts[:, None] > starts
        some = behind & (by_block.max(axis=1) > starts[:, None])
        whole = some & (by_block.min(axis=1) >= starts[:, None] + size)
        some = some & ~whole | np.eye(count, dtype=bool)
        return TreeBlocks(
            stops=torch.from_numpy(stops.astype(np.int32)),
            some=_lists(some),
            some_of_keys=_lists(some.T),
            whole=_lists(whole),
            whole_of_keys=_lists(whole.T),
        )

    @property
    def mask(self) -> BlockMask:
        """The mask as FlexAttention takes it."""
        if not self._masks:
            stops = self.stops

            def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return (key <= query) & (query < stops[key])

            self._masks.append(
                BlockMask(
                    (len(stops), len(stops)),
                    *self.some,
                    *self.whole,
                    *self.some_of_keys,
                    *self.whole_of_keys,
                    BLOCK_SIZE=(BLOCK, BLOCK),
                    mask_mod=sees,
                )
            )
        return self._masks[0]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """(1, H, M, D) from packed queries (1, H, M, D), keys and values (1, K, M, D) with K dividing H."""
        run = _flex(compiled=query.device.type != "cpu")
        found: Tensor = run(
            query, key, value, block_mask=self.mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
        return found


@cache
def _flex(*, compiled: bool) -> Any:
    """FlexAttention, compiled for any number of tokens; on a CPU its eager form, which holds all scores."""
    found: Any = torch.compile(flex_attention, dynamic=True) if compiled else flex_attention
    return found


def _lists(meet: NDArray[np.bool_]) -> Lists:
    counts, which = meet.sum(axis=1), np.argsort(~meet, axis=1, kind="stable")
    first, second = (torch.from_numpy(np.ascontiguousarray(each, dtype=np.int32)) for each in (counts, which))
    return first[None, None], second[None, None]
