"""A micro-batch as a tree of shared beginnings, packed into one sequence without padding.

    common text ─┬─ rest of prompt 1 ─┬─ completion
                 │                    └─ completion …
                 └─ rest of prompt 2 ─── completion …

Every token stands in the packed sequence once, depth first, so that what shares a beginning is one block behind it.
A token attends to its node up to itself, and to all nodes above (`mentor_kit_torch.tree_attention`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_kit.batching import MicroBatch
from mentor_kit_torch.tree_attention import Layout, Span, attend
from mentor_kit_torch.tree_rows import Chains, Node, Rows

#: Nodes above that are this long are attended to by all tokens below at once; shorter ones are copied to each row.
SHORTEST_KEPT = 128
#: Nodes this long attend to themselves one by one, as half of their scores are hidden; shorter ones as rows of a batch.
SHORTEST_ALONE = 256

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """The packed sequence of M tokens."""

    ids: Tensor
    """(1, M)."""
    positions: Tensor
    """(1, M): places in the sequences they belong to."""
    before: Tensor
    """(D, T): the place in the packed sequence of the token before each token of each completion."""
    layout: Layout
    """What attends to what."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        """A `mentor_kit_torch.attending.Plan`; takes no mask."""
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
        self.common = slice(0, batch.common)
        # the last token of a completion predicts nothing
        self.lengths = batch.lengths - 1
        self.ids: list[Ints] = [batch.prompt_ids[0, self.common]]
        self.positions: list[Ints] = [np.arange(batch.common)]
        self.place = batch.common
        self.before = np.zeros(batch.ids.shape, dtype=np.int64)
        self.prompts: list[Node] = []
        """Short prompts, behind the common text."""
        self.completions: list[Node] = []
        """Short completions, each behind a chain of its own prompt."""
        self.chains: list[tuple[slice, ...]] = []
        self.own: list[Span] = [Span(self.common, self.common)] if batch.common else []
        self.above: list[Span] = []

    def tree(self, device: torch.device) -> Tree:
        batch = self.batch
        for index, length in enumerate(batch.prompt_lengths.tolist()):
            self._add_prompt(index, length)
        if _kept(self.common):
            self.above.append(Span(slice(self.common.stop, self.place), self.common))
        first = Chains.of([self._copied(self.common)], device)
        behind = Chains.of(self.chains, device)
        rows = [Rows.of(nodes, first, device) for nodes in buckets(self.prompts)]
        rows += [Rows.of(nodes, behind, device) for nodes in buckets(self.completions)]

        def tensor(parts: list[Ints]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).unsqueeze(0).to(device)

        return Tree(
            ids=tensor(self.ids),
            positions=tensor(self.positions),
            before=torch.from_numpy(self.before).to(device),
            layout=Layout(tuple(rows), tuple(self.own), tuple(self.above)),
        )

    def _add_prompt(self, index: int, length: int) -> None:
        batch, common = self.batch, self.common
        prompt = self._add(batch.prompt_ids[index, common.stop : length], common.stop)
        self._place(prompt, [common], self.prompts, chain=0)
        for row in np.nonzero(batch.prompt_of == index)[0].tolist():
            count, width = int(self.lengths[row]), batch.ids.shape[1]
            node = self._add(batch.ids[row, :count], length)
            self.before[row] = np.minimum(node.start - 1 + np.arange(width), max(node.stop - 1, 0))
            self.before[row, 0] = prompt.stop - 1
            if count:
                self._place(node, [common, prompt], self.completions, chain=index)
        self.chains.append(self._copied(common, prompt))
        if _kept(prompt) and self.place > prompt.stop:
            self.above.append(Span(slice(prompt.stop, self.place), prompt))

    def _place(self, node: slice, above: list[slice], rows: list[Node], *, chain: int) -> None:
        """A node attends to itself and to the short ones above, as a row or alone."""
        if _size(node) < SHORTEST_ALONE:
            rows.append(Node(node, chain))
            return
        self.own.append(Span(node, node))
        self.above += [Span(node, short) for short in self._copied(*above)]

    def _copied(self, *nodes: slice) -> tuple[slice, ...]:
        return tuple(node for node in nodes if _size(node) and not _kept(node))

    def _add(self, ids: Ints, position: int) -> slice:
        start = self.place
        self.ids.append(ids)
        self.positions.append(np.arange(position, position + len(ids)))
        self.place += len(ids)
        return slice(start, self.place)


def buckets(nodes: list[Node], waste: float = 1.5, least: int = 8) -> list[list[Node]]:
    """Nodes of about one length next to each other, so that padding is little: at most `waste` times the shortest.

    Fewer than `least` nodes are not worth a batch of their own.
    """
    found: list[list[Node]] = []
    for node in sorted(nodes, key=lambda node: -_size(node.span)):
        longest = _size(found[-1][0].span) if found else 0
        if not found or (len(found[-1]) >= least and longest > waste * _size(node.span)):
            found.append([])
        found[-1].append(node)
    return found


def _size(node: slice) -> int:
    return int(node.stop - node.start)


def _kept(node: slice) -> bool:
    return _size(node) >= SHORTEST_KEPT
