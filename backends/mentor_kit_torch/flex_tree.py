"""Attention along a tree by PyTorch's FlexAttention: one kernel for all nodes, forwards, and its gradient.

Packed depth first, all that is below a node is the block behind it. So a key is attended to from its own place up to
the end of what is below its node, its `stop`; and in layers with windows or chunks only from positions near its own,
which count along the path from the root:

    query q attends to key k   if and only if   k <= q < stop[k]   and   position[k] is within reach of position[q]

FlexAttention skips blocks of keys to which no query of a block attends, and asks the condition only in blocks where
some do and some do not. A soft cap changes scores (`score_mod`); a sink takes weight from all keys of a query alike, so
that it is applied behind, by the log-sum-exps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from mentor_kit_torch.attention import EVERYTHING, Reach
from mentor_kit_torch.attention_backend import PLAIN_SCORES, ScoreChanges

#: Queries, and keys, of a block.
BLOCK = 128
#: Compilations of FlexAttention in a process: for types, heads, kinds of layers, soft caps, with gradients or without.
COMPILATIONS = 64

#: For fewer than 128 queries PyTorch would take a kernel for decoding, which cannot be compiled for some of their
#: numbers (PyTorch 2.13: where queries and the heads that share a key make no divisor of a block).
KERNEL_OPTIONS = {"FORCE_USE_FLEX_ATTENTION": True}

Ints = NDArray[np.int64]
Lists = tuple[Tensor, Tensor]
"""(1, 1, n) how many blocks meet each of n blocks, and (1, 1, n, n) which, these first; int32."""


@dataclass(frozen=True)
class BlockLists:
    """Which blocks of tokens meet in layers of one reach."""

    some: Lists
    """Blocks of keys of which a block of queries may see a part."""
    some_of_keys: Lists
    """The same by blocks of keys."""
    whole: Lists
    """Blocks of keys that all of a block of queries see."""
    whole_of_keys: Lists
    first: Tensor | None
    """(M,): the first position that each token sees; None where it is the root's."""


@dataclass(frozen=True)
class TreeBlocks:
    """Which of M packed tokens attend to which, in blocks."""

    stops: Tensor
    """(M,): one behind the last query that attends to each key."""
    positions: Tensor
    """(M,): in the sequences they belong to."""
    lists: Mapping[Reach, BlockLists]
    """For each kind of layers."""
    _masks: dict[Reach, BlockMask] = field(default_factory=dict, init=False, repr=False)
    """Built when they are first needed: they are the same for all layers of a kind."""

    @staticmethod
    def of(stops: Ints, positions: Ints, reaches: Sequence[Reach] = (EVERYTHING,), size: int = BLOCK) -> TreeBlocks:
        """The blocks of a tree, on the CPU.

        Args:
            stops: (M,).
            positions: (M,).
            reaches: of the layers.
            size: of a block.
        """
        tree = _Blocks.of(stops, positions, size)
        return TreeBlocks(
            stops=torch.from_numpy(stops.astype(np.int32)),
            positions=torch.from_numpy(positions.astype(np.int32)),
            lists={reach: tree.lists(reach, positions) for reach in reaches},
        )

    def mask(self, reach: Reach = EVERYTHING) -> BlockMask:
        """The mask of a kind of layers as FlexAttention takes it."""
        if reach not in self._masks:
            lists, length = self.lists[reach], len(self.stops)
            self._masks[reach] = BlockMask(
                (length, length),
                *lists.some,
                *lists.whole,
                *lists.some_of_keys,
                *lists.whole_of_keys,
                BLOCK_SIZE=(BLOCK, BLOCK),
                mask_mod=_sees(self.stops, self.positions, lists.first),
            )
        return self._masks[reach]

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        reach: Reach = EVERYTHING,
        changes: ScoreChanges = PLAIN_SCORES,
    ) -> Tensor:
        """(1, H, M, D) from packed queries (1, H, M, D), keys and values (1, K, M, D) with K dividing H."""
        out, aux = _flex(
            query,
            key,
            value,
            score_mod=None if changes.softcap is None else _capped(changes.softcap),
            block_mask=self.mask(reach),
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
            return_aux=AuxRequest(lse=changes.sinks is not None),
        )
        if changes.sinks is None:
            return out  # type: ignore[no-any-return]
        share = torch.sigmoid(aux.lse - changes.sinks.float().view(1, -1, 1))
        return out * share.unsqueeze(-1).to(out.dtype)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Blocks:
    """What is known of n blocks of packed tokens."""

    behind: NDArray[np.bool_]
    """(n, n): whether a block of queries is behind one of keys."""
    some: NDArray[np.bool_]
    """(n, n): whether some of the queries have some of the keys above them."""
    whole: NDArray[np.bool_]
    """(n, n): whether all have all."""
    first: Ints
    """(n,): the least position of a block."""
    last: Ints

    @staticmethod
    def of(stops: Ints, positions: Ints, size: int) -> _Blocks:
        count = -(-len(stops) // size)
        starts = np.arange(count) * size
        # behind the end there is nothing to see
        ends = _padded(stops, count * size, 0).reshape(count, size)
        behind = starts[:, None] > starts
        some = behind & (ends.max(axis=1) > starts[:, None])
        return _Blocks(
            behind=behind,
            some=some,
            whole=some & (ends.min(axis=1) >= starts[:, None] + size),
            first=_padded(positions, count * size, np.iinfo(np.int64).max).reshape(count, size).min(axis=1),
            last=_padded(positions, count * size, 0).reshape(count, size).max(axis=1),
        )

    def lists(self, reach: Reach, positions: Ints) -> BlockLists:
        """Where positions alone do not tell, a block is said to be seen in part: then each of its pairs is asked."""
        nearest = _near(reach, self.first[:, None], self.last)
        farthest = _near(reach, self.last[:, None], self.first)
        whole = self.whole & farthest
        some = self.some & nearest & ~whole | np.eye(len(self.first), dtype=bool)
        first = None if reach == EVERYTHING else torch.from_numpy(reach.first(positions).astype(np.int32))
        return BlockLists(_lists(some), _lists(some.T), _lists(whole), _lists(whole.T), first)


def _near(reach: Reach, looks: Ints, seen: Ints) -> NDArray[np.bool_]:
    """(n, n): whether a query at a position sees a key at another, which is no later than the query in any pair."""
    found: NDArray[np.bool_] = reach.shows(np.maximum(looks, seen), seen)
    return found


def _sees(stops: Tensor, positions: Tensor, first: Tensor | None) -> Callable[..., Tensor]:
    """The condition, of captured tensors alone: numbers that change would be compiled anew."""

    def full(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < stops[key])

    if first is None:
        return full
    bound = first

    def near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < stops[key]) & (positions[key] >= bound[query])

    return near


@cache
def _capped(cap: float) -> Callable[..., Tensor]:
    def score(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return torch.tanh(score / cap) * cap

    return score


@cache
def _compiled() -> Any:
    """FlexAttention, compiled for any number of tokens."""
    return torch.compile(flex_attention, dynamic=True, fullgraph=True)


def _flex(*given: Tensor, **how: Any) -> Any:
    """FlexAttention; on a CPU its eager form, which holds all scores."""
    if given[0].device.type == "cpu":
        eager: Any = flex_attention
        return eager(*given, **how)
    # a scale or a soft cap that is an input is refused; beyond its own limit PyTorch runs the eager form, with a
    # word in the log alone
    with torch._dynamo.config.patch(specialize_float=True, recompile_limit=COMPILATIONS):
        return _compiled()(*given, **how, kernel_options=KERNEL_OPTIONS)


def _lists(meet: NDArray[np.bool_]) -> Lists:
    counts, which = meet.sum(axis=1), np.argsort(~meet, axis=1, kind="stable")
    first, second = (torch.from_numpy(np.ascontiguousarray(each, dtype=np.int32)) for each in (counts, which))
    return first[None, None], second[None, None]


def _padded(values: Ints, length: int, fill: int) -> Ints:
    return np.concatenate([values, np.full(length - len(values), fill)])
