"""A micro-batch as a tree of common prefixes, packed into one sequence without padding.

    common prefix ─┬─ rest of prompt 1 ─┬─ completion
                   │                    └─ common prefix of two completions ─┬─ rest of one
                   │                                                         └─ rest of the other …
                   └─ rest of prompt 2 ─── completion …

Every token is in the packed sequence once, depth first, so that sequences with a common prefix are one block behind it.
A token attends to its node up to itself, and to all nodes above (`mentor_kit_torch.tree_attention`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_kit.backend.microbatching import MicroBatch, same_beginning
from mentor_kit_torch.attention import EVERYTHING, Reach
from mentor_kit_torch.attention_backend import PLAIN_SCORES, ScoreChanges
from mentor_kit_torch.flex_tree import TreeBlocks
from mentor_kit_torch.kernels import PartKernels
from mentor_kit_torch.tree_attention import Layout, Span, attend
from mentor_kit_torch.tree_rows import ChainRows, Node

#: Nodes of this length are attended to by all tokens below at once; shorter ones are copied to each row.
SHORTEST_KEPT = 128
#: Nodes of this length attend to themselves one by one, which skips masked scores; shorter ones as rows of a batch.
SHORTEST_ALONE = 256
#: Completions share a common prefix of at least this length.
SHORTEST_SHARED = 16

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """The packed sequence of M tokens."""

    ids: Tensor
    """(1, M)."""
    positions: Tensor
    """(1, M): places in the sequences they belong to."""
    predicting: Tensor
    """(A,): packed places from which a trained token is predicted, once for each different token."""
    targets: Tensor
    """(A,): these tokens."""
    temperature: Tensor | None
    """(A,): of their rows; None where all are 1."""
    target_of: Tensor
    """For each trained token of the micro-batch's rows, in their order: which of the A it is."""
    layout: Layout
    """Which tokens attend to which, in parts."""
    blocks: TreeBlocks | None = None
    """The same for FlexAttention, where that does it."""

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key whose scores are computed."""
        return self.layout.pairs

    @staticmethod
    def of(batch: MicroBatch, reaches: Sequence[Reach] = ()) -> Tree:
        """The tree of a micro-batch, on the CPU; for FlexAttention in layers of these reaches, or in parts for none."""
        return _Packing(batch).tree(reaches)


@dataclass(frozen=True)
class TreePlan:
    """The `mentor_kit_torch.attention_backend.AttentionPlan` of a tree's tokens."""

    tree: Tree
    parts: PartKernels | None = None
    """That do its parts; None for those of `mentor_kit_torch.kernels`."""
    reach: Callable[[int], Reach] = lambda layer: EVERYTHING
    """Of layers by their numbers. In parts they attend to everything."""

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float,
        changes: ScoreChanges = PLAIN_SCORES,
    ) -> Tensor:
        """As `AttentionPlan.attend`; takes no mask."""
        reach = self.reach(layer)
        if self.tree.blocks is not None:
            return self.tree.blocks.attend(query, key, value, scale, reach, changes)
        changes.refuse()
        if reach != EVERYTHING:
            raise ValueError("attention in parts has neither windows nor chunks")
        return attend(query, key, value, self.tree.layout, scale, self.parts)


class _Packing:
    """Builds the packed sequence."""

    def __init__(self, batch: MicroBatch) -> None:
        self.batch = batch
        # the last token of a completion predicts nothing
        self.lengths = batch.lengths - 1
        self.ids: list[Ints] = []
        self.positions: list[Ints] = []
        self.place = 0
        self.before = np.zeros(batch.ids.shape, dtype=np.int64)
        """The packed place of the token before each token of each row."""
        self.prompts: list[Node] = []
        """Short nodes of prompts."""
        self.completions: list[Node] = []
        """Short nodes of completions, and of prefixes that several share."""
        self.ends: list[tuple[slice, int]] = []
        """Nodes, and where what is below them ends; of a node that stands here twice, the latter holds."""
        self.own: list[Span] = []
        self.above: list[Span] = []

    def tree(self, reaches: Sequence[Reach]) -> Tree:
        batch = self.batch
        common = self._add(batch.prompt_ids[0, : batch.common_prefix], 0)
        if batch.common_prefix:
            self.own.append(Span(common, common))
        for index, length in enumerate(batch.prompt_lengths.tolist()):
            prompt = self._add(batch.prompt_ids[index, common.stop : length], common.stop)
            self._place(prompt, (common,), self.prompts)
            rows = np.nonzero(batch.prompt_of == index)[0]
            self.before[rows, 0] = prompt.stop - 1
            self._add_rows(rows, 0, length, (common, prompt))
            self._end(prompt)
        self._end(common)

        short = [*buckets(self.prompts), *buckets(self.completions)]
        places, targets = self.before[batch.trained], batch.ids[batch.trained]
        temperature = np.broadcast_to(batch.temperature[:, None], batch.ids.shape)[batch.trained]
        _, first, target_of = np.unique(places * (targets.max() + 1) + targets, return_index=True, return_inverse=True)
        positions = np.concatenate(self.positions)
        return Tree(
            ids=torch.from_numpy(np.concatenate(self.ids)).unsqueeze(0),
            positions=torch.from_numpy(positions).unsqueeze(0),
            predicting=torch.from_numpy(places[first]),
            targets=torch.from_numpy(targets[first]),
            temperature=None if (batch.temperature == 1).all() else torch.from_numpy(temperature[first]),
            target_of=torch.from_numpy(target_of),
            layout=Layout(tuple(ChainRows.of(nodes) for nodes in short), tuple(self.own), tuple(self.above)),
            blocks=TreeBlocks.of(self._stops(), positions, reaches) if reaches else None,
        )

    def _stops(self) -> Ints:
        """(M,): the end of what is below each token's node."""
        stops = np.zeros(self.place, dtype=np.int64)
        for node, stop in self.ends:
            stops[node] = stop
        return stops

    def _add_rows(self, rows: Ints, start: int, position: int, above: tuple[slice, ...]) -> None:
        """Add rows from `start` on that are equal up to there; `position` is that of their first token."""
        for alike in self._by_next(rows, start):
            self._add_alike(alike, start, position, above)

    def _add_alike(self, rows: Ints, start: int, position: int, above: tuple[slice, ...]) -> None:
        """As `_add_rows`, of rows whose token at `start` is the same."""
        if len(rows) == 1:
            self._add_node(rows, start, int(self.lengths[rows[0]]), position, above)
            return
        fork = start + same_beginning([self.batch.ids[row, start : self.lengths[row]] for row in rows])
        if fork - start < SHORTEST_SHARED:
            # too short for all to share it; some of them may share more
            for row in rows[self.lengths[rows] == fork]:
                self._add_node(row[None], start, fork, position, above)
            for alike in self._by_next(rows, fork):
                self._add_alike(alike, start, position, above)
            return
        node = self._add_node(rows, start, fork, position, above)
        self._add_rows(rows, fork, position, (*above, node))
        self._end(node)

    def _by_next(self, rows: Ints, place: int) -> list[Ints]:
        """The rows that are longer than `place`, by their token there."""
        rows = rows[self.lengths[rows] > place]
        if len(rows) < 2:
            return [rows] if len(rows) else []
        tokens = self.batch.ids[rows, place]
        return [rows[tokens == token] for token in np.unique(tokens)]

    def _add_node(self, rows: Ints, start: int, stop: int, position: int, above: tuple[slice, ...]) -> slice:
        """Add the rows' tokens from `start` to `stop` as one node."""
        node = self._add(self.batch.ids[rows[0], start:stop], position + start)
        self.before[rows, start + 1 : stop + 1] = np.arange(node.start, node.stop)
        self._place(node, above, self.completions)
        return node

    def _place(self, node: slice, above: tuple[slice, ...], short: list[Node]) -> None:
        """Let a node attend to itself and to the short ones above, as a row or alone."""
        if not _size(node):
            return
        copied = tuple(each for each in above if _size(each) and not _kept(each))
        if _size(node) < SHORTEST_ALONE:
            short.append(Node(node, copied))
            return
        self.own.append(Span(node, node))
        self.above += [Span(node, short) for short in copied]

    def _end(self, node: slice) -> None:
        """End a node: let all tokens below a long one, which are the block behind it, attend to it without copies."""
        self.ends.append((node, self.place))
        if _kept(node) and self.place > node.stop:
            self.above.append(Span(slice(node.stop, self.place), node))

    def _add(self, ids: Ints, position: int) -> slice:
        start = self.place
        self.ids.append(ids)
        self.positions.append(np.arange(position, position + len(ids)))
        self.place += len(ids)
        self.ends.append((slice(start, self.place), self.place))
        return slice(start, self.place)


def buckets(nodes: list[Node]) -> list[list[Node]]:
    """Nodes grouped by their length and by that of the nodes above, so that there is little padding."""
    chains = _buckets(nodes, lambda node: sum(map(_size, node.above)))
    return [bucket for chain in chains for bucket in _buckets(chain, lambda node: _size(node.span))]


def _buckets(nodes: list[Node], size: Callable[[Node], int], waste: float = 1.5, least: int = 8) -> list[list[Node]]:
    """Nodes by size: in a bucket the largest is at most `waste` times the smallest, or there are fewer than `least`."""
    found: list[list[Node]] = []
    for node in sorted(nodes, key=lambda node: -size(node)):
        greatest = size(found[-1][0]) if found else 0
        if not found or (len(found[-1]) >= least and greatest > waste * size(node)):
            found.append([])
        found[-1].append(node)
    return found


def _size(node: slice) -> int:
    return int(node.stop - node.start)


def _kept(node: slice) -> bool:
    return _size(node) >= SHORTEST_KEPT
