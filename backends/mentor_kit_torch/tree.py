"""A micro-batch as a tree of shared beginnings, packed into one sequence without padding.

    common text ─┬─ rest of prompt 1 ─┬─ completion
                 │                    └─ what two completions begin with ─┬─ rest of one
                 │                                                        └─ rest of the other …
                 └─ rest of prompt 2 ─── completion …

Every token stands in the packed sequence once, depth first, so that what shares a beginning is one block behind it.
A token attends to its node up to itself, and to all nodes above (`mentor_kit_torch.tree_attention`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_kit.backend.microbatching import MicroBatch, same_beginning
from mentor_kit_torch.tree_attention import Layout, Span, attend
from mentor_kit_torch.tree_rows import ChainRows, Node

#: Nodes above that are this long are attended to by all tokens below at once; shorter ones are copied to each row.
SHORTEST_KEPT = 128
#: Nodes this long attend to themselves one by one, as half of their scores are hidden; shorter ones as rows of a batch.
SHORTEST_ALONE = 256
#: Completions that begin with as many equal tokens share them.
SHORTEST_SHARED = 16

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """The packed sequence of M tokens."""

    ids: Tensor
    """(1, M)."""
    positions: Tensor
    """(1, M): places in the sequences they belong to."""
    asked: Tensor
    """(A,): packed places, each with a token that some completions say next and are trained on."""
    said: Tensor
    """(A,): these tokens."""
    temperature: Tensor
    """(A,): theirs."""
    answers: Tensor
    """For each trained token of the micro-batch's rows, in their order: which of the A it is."""
    layout: Layout
    """What attends to what."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        """A `mentor_kit_torch.attention_backend.AttentionPlan`; takes no mask."""
        return attend(query, key, value, self.layout, scale)

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key whose scores are computed."""
        return self.layout.pairs

    @staticmethod
    def of(batch: MicroBatch, device: torch.device) -> Tree:
        """The tree of a micro-batch, whose completions of a prompt stand next to each other."""
        return _Packing(batch).tree(device)


class _Packing:
    """Lays a micro-batch out; places are counted on the CPU."""

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
        """Short ones."""
        self.completions: list[Node] = []
        """Short ones, and short beginnings that several share."""
        self.own: list[Span] = []
        self.above: list[Span] = []

    def tree(self, device: torch.device) -> Tree:
        batch = self.batch
        common = self._add(batch.prompt_ids[0, : batch.common], 0)
        if batch.common:
            self.own.append(Span(common, common))
        for index, length in enumerate(batch.prompt_lengths.tolist()):
            prompt = self._add(batch.prompt_ids[index, common.stop : length], common.stop)
            self._place(prompt, (common,), self.prompts)
            rows = np.nonzero(batch.prompt_of == index)[0]
            self.before[rows, 0] = prompt.stop - 1
            self._add_rows(rows, 0, length, (common, prompt))
            self._show_to_all_below(prompt)
        self._show_to_all_below(common)

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device)

        short = [*buckets(self.prompts), *buckets(self.completions)]
        places, said = self.before[batch.trained], batch.ids[batch.trained]
        temperature = np.broadcast_to(batch.temperature[:, None], batch.ids.shape)[batch.trained]
        _, first, answers = np.unique(places * (said.max() + 1) + said, return_index=True, return_inverse=True)
        return Tree(
            ids=tensor(np.concatenate(self.ids)).unsqueeze(0),
            positions=tensor(np.concatenate(self.positions)).unsqueeze(0),
            asked=tensor(places[first]),
            said=tensor(said[first]),
            temperature=tensor(temperature[first]),
            answers=tensor(answers),
            layout=Layout(tuple(ChainRows.of(nodes, device) for nodes in short), tuple(self.own), tuple(self.above)),
        )

    def _add_rows(self, rows: Ints, start: int, position: int, above: tuple[slice, ...]) -> None:
        """What rows say from `start` on, where they are one up to there; `position` is that of their first token."""
        for alike in self._by_next(rows, start):
            self._add_alike(alike, start, position, above)

    def _add_alike(self, rows: Ints, start: int, position: int, above: tuple[slice, ...]) -> None:
        """As `_add_rows`, of rows that say the same token there."""
        if len(rows) == 1:
            self._add_node(rows, start, int(self.lengths[rows[0]]), position, above)
            return
        fork = start + same_beginning([self.batch.ids[row, start : self.lengths[row]] for row in rows])
        if fork - start < SHORTEST_SHARED:
            # too little to share it among all; some of them may share more
            for row in rows[self.lengths[rows] == fork]:
                self._add_node(row[None], start, fork, position, above)
            for alike in self._by_next(rows, fork):
                self._add_alike(alike, start, position, above)
            return
        node = self._add_node(rows, start, fork, position, above)
        self._add_rows(rows, fork, position, (*above, node))
        self._show_to_all_below(node)

    def _by_next(self, rows: Ints, place: int) -> list[Ints]:
        """Those of the rows that go on at a place, by the token they say there."""
        rows = rows[self.lengths[rows] > place]
        if len(rows) < 2:
            return [rows] if len(rows) else []
        said = self.batch.ids[rows, place]
        return [rows[said == token] for token in np.unique(said)]

    def _add_node(self, rows: Ints, start: int, stop: int, position: int, above: tuple[slice, ...]) -> slice:
        """What rows say from `start` to `stop`, as one node."""
        node = self._add(self.batch.ids[rows[0], start:stop], position + start)
        self.before[rows, start + 1 : stop + 1] = np.arange(node.start, node.stop)
        self._place(node, above, self.completions)
        return node

    def _place(self, node: slice, above: tuple[slice, ...], short: list[Node]) -> None:
        """A node attends to itself and to the short ones above, as a row or alone."""
        if not _size(node):
            return
        copied = tuple(each for each in above if _size(each) and not _kept(each))
        if _size(node) < SHORTEST_ALONE:
            short.append(Node(node, copied))
            return
        self.own.append(Span(node, node))
        self.above += [Span(node, short) for short in copied]

    def _show_to_all_below(self, node: slice) -> None:
        """A long node, behind which all stands that is below it, is attended to without copies."""
        if _kept(node) and self.place > node.stop:
            self.above.append(Span(slice(node.stop, self.place), node))

    def _add(self, ids: Ints, position: int) -> slice:
        start = self.place
        self.ids.append(ids)
        self.positions.append(np.arange(position, position + len(ids)))
        self.place += len(ids)
        return slice(start, self.place)


def buckets(nodes: list[Node]) -> list[list[Node]]:
    """Nodes of about one length, below nodes of about one length, next to each other, so that padding is little."""
    chains = _buckets(nodes, lambda node: sum(map(_size, node.above)))
    return [bucket for chain in chains for bucket in _buckets(chain, lambda node: _size(node.span))]


def _buckets(nodes: list[Node], size: Callable[[Node], int], waste: float = 1.5, least: int = 8) -> list[list[Node]]:
    """Nodes by size, the greatest at most `waste` times the least; fewer than `least` are not worth a bucket."""
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
