"""A micro-batch as a tree of shared beginnings, packed into one sequence without padding.

    common text ─┬─ rest of prompt 1 ─┬─ completion
                 │                    └─ completion …
                 └─ rest of prompt 2 ─── completion …

Every token stands in the packed sequence once, depth first, so that what shares a beginning is one block behind it.
A token attends to its node up to itself, and to all nodes above; that is three parts of attention with keys and
values that are never copied per sequence (`mentor_kit_torch.kernels`), and its gradient is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_kit.batching import MicroBatch
from mentor_kit_torch import kernels
from mentor_kit_torch.kernels import Part

#: A log-sum-exp beside which every score vanishes.
FAR = 1e6

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """The packed sequence of M tokens. Spans are (start, end) in it."""

    ids: Tensor
    """(1, M)."""
    positions: Tensor
    """(1, M): places in the sequences they belong to."""
    before: Tensor
    """(N, T): the place in the packed sequence of the token before each token of each completion."""
    spans: tuple[tuple[slice, slice], ...]
    """Blocks of queries, and what they see whole; a block that sees itself does so causally."""
    padded: tuple[Padded, ...]
    """The nodes that see themselves causally."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        """A `mentor_kit_torch.attending.Plan`; takes no mask."""
        out: Tensor = TreeAttention.apply(query, key, value, self, scale)  # type: ignore[no-untyped-call]
        return out

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key whose scores are computed."""
        dense: int = sum((a.stop - a.start) * (b.stop - b.start) for a, b in self.spans)
        return dense + sum(nodes.shape[0] * nodes.shape[1] ** 2 for nodes in self.padded)

    @staticmethod
    def of(batch: MicroBatch, device: torch.device) -> Tree:
        """The tree of a micro-batch, whose completions of a prompt stand next to each other."""
        return _Packing(batch).tree(device)


@dataclass(frozen=True)
class Padded:
    """Nodes of the tree as rows of a batch, padded behind."""

    gather: Tensor
    """(n * t,): the packed place of each padded place; padding points to place 0."""
    padding: Tensor
    """(n, t)."""
    scatter: Tensor
    """(m,): the padded places that are no padding, in the order of `places`."""
    places: Tensor
    """(m,): their packed places."""
    shape: tuple[int, int]
    """(n, t)."""

    @staticmethod
    def of(spans: list[tuple[int, int]], device: torch.device) -> Padded:
        lengths = np.array([end - start for start, end in spans], dtype=np.int64)
        width = int(lengths.max(initial=0))
        starts = np.array([start for start, _ in spans], dtype=np.int64)
        inside = np.arange(width) < lengths[:, None]
        places = np.where(inside, starts[:, None] + np.arange(width), 0)
        return Padded(
            gather=torch.from_numpy(places.reshape(-1)).to(device),
            padding=torch.from_numpy(~inside).to(device),
            scatter=torch.from_numpy(np.nonzero(inside.reshape(-1))[0]).to(device),
            places=torch.from_numpy(places[inside]).to(device),
            shape=(len(spans), width),
        )

    def rows(self, states: Tensor, repeat: int = 1) -> Tensor:
        """Packed states (1, H, M, D) as (n, H * repeat, t, D), each head `repeat` times."""
        found = self._spread(states)
        return found if repeat == 1 else found.repeat_interleave(repeat, dim=1)

    def results(self, out: Tensor, lse: Tensor, grad: Tensor) -> tuple[Tensor, Part]:
        """The gradient and the merged part as rows; padding gets what makes it give no gradient."""
        hidden = self.padding.unsqueeze(1)
        rows = self._spread(lse)
        given = self.rows(grad).masked_fill(hidden.unsqueeze(-1), 0.0)
        return given, (self.rows(out), rows.masked_fill(hidden, FAR))

    def _spread(self, states: Tensor) -> Tensor:
        found = states[0].index_select(1, self.gather)
        return found.view(len(found), *self.shape, *found.shape[2:]).transpose(0, 1)

    def packed(self, rows: Tensor) -> Tensor:
        """The inverse of `rows`, without padding: (H, m, …) from (n, H, t, …)."""
        return rows.transpose(0, 1).flatten(1, 2).index_select(1, self.scatter)


class _Packing:
    """Lays a micro-batch out; places are counted on the CPU."""

    def __init__(self, batch: MicroBatch) -> None:
        self.batch = batch
        self.common = batch.common
        # the last token of a completion predicts nothing
        self.lengths = batch.lengths - 1
        self.ids: list[Ints] = [batch.prompt_ids[0, : self.common]]
        self.positions: list[Ints] = [np.arange(self.common)]
        self.place = self.common

    def tree(self, device: torch.device) -> Tree:
        batch = self.batch
        count, width = batch.ids.shape
        before = np.zeros((count, width), dtype=np.int64)
        prompts: list[tuple[int, int]] = []
        completions: list[tuple[int, int]] = []
        spans: list[tuple[slice, slice]] = []
        for index, length in enumerate(batch.prompt_lengths.tolist()):
            prompt = self._add(batch.prompt_ids[index, self.common : length], self.common)
            rows = np.nonzero(batch.prompt_of == index)[0]
            for row in rows.tolist():
                span = self._add(batch.ids[row, : self.lengths[row]], length)
                before[row] = np.minimum(span[0] - 1 + np.arange(width), self.place - 1)
                before[row, 0] = prompt[1] - 1
                completions.append(span)
            prompts.append(prompt)
            if self.place > prompt[1]:
                spans.append((slice(prompt[1], self.place), slice(*prompt)))
        if self.common:
            first = slice(0, self.common)
            spans += [(slice(self.common, self.place), first), (first, first)]

        def tensor(parts: list[Ints]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).unsqueeze(0).to(device)

        return Tree(
            ids=tensor(self.ids),
            positions=tensor(self.positions),
            before=torch.from_numpy(before).to(device),
            spans=tuple(spans),
            padded=tuple(Padded.of(nodes, device) for nodes in (prompts, completions) if any(a < b for a, b in nodes)),
        )

    def _add(self, ids: Ints, position: int) -> tuple[int, int]:
        start = self.place
        self.ids.append(ids)
        self.positions.append(np.arange(position, position + len(ids)))
        self.place += len(ids)
        return start, self.place


class TreeAttention(torch.autograd.Function):
    """Attention along a tree, from packed queries (1, H, M, D), keys and values (1, K, M, D) with K dividing H."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float) -> Tensor:
        """(1, H, M, D)."""
        out, lse = torch.empty_like(query), query.new_empty(query.shape[:3], dtype=torch.float32)
        repeat = query.shape[1] // key.shape[1]
        for nodes in tree.padded:
            rows = nodes.rows(query), nodes.rows(key, repeat), nodes.rows(value, repeat)
            part, part_lse = kernels.attend(*rows, scale, causal=True)
            out[0].index_copy_(1, nodes.places, nodes.packed(part))
            lse[0].index_copy_(1, nodes.places, nodes.packed(part_lse))
        for queries, keys in tree.spans:
            part, part_lse = kernels.attend(*_dense(query, key, value, queries, keys), scale, causal=queries == keys)
            found = kernels.ungrouped(part), kernels.ungrouped(part_lse)
            if queries != keys:
                found = kernels.merge([(out[:, :, queries], lse[:, :, queries]), found])
            out[:, :, queries], lse[:, :, queries] = found
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.tree, ctx.scale = tree, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients for query, key and value; every part takes the merged results."""
        query, key, value, out, lse = ctx.saved_tensors
        (grad,) = grads
        heads, repeat = key.shape[1], query.shape[1] // key.shape[1]
        queries, keys, values = (torch.zeros_like(states) for states in (query, key, value))
        for nodes in ctx.tree.padded:
            given, merged = nodes.results(out, lse, grad)
            rows = nodes.rows(query), nodes.rows(key, repeat), nodes.rows(value, repeat)
            found = kernels.gradients(given, *rows, merged, ctx.scale, causal=True)
            queries[0].index_copy_(1, nodes.places, nodes.packed(found[0]))
            for total, part in zip((keys, values), found[1:], strict=True):
                total[0].index_copy_(1, nodes.places, nodes.packed(_summed(part, heads)))
        for block, seen in ctx.tree.spans:
            merged = kernels.by_group(out[:, :, block], heads), kernels.by_group(lse[:, :, block], heads)
            given = kernels.by_group(grad[:, :, block], heads)
            dense = _dense(query, key, value, block, seen)
            found = kernels.gradients(given, *dense, merged, ctx.scale, causal=block == seen)
            queries[:, :, block] += kernels.ungrouped(found[0])
            keys[0, :, seen] += found[1].sum(dim=0)
            values[0, :, seen] += found[2].sum(dim=0)
        return queries, keys, values, None, None


def _summed(rows: Tensor, heads: int) -> Tensor:
    """Gradients of repeated heads (n, H, t, D) as those of the heads themselves, (n, heads, t, D)."""
    return rows.reshape(len(rows), heads, -1, *rows.shape[2:]).sum(dim=2)


def _dense(query: Tensor, key: Tensor, value: Tensor, queries: slice, keys: slice) -> tuple[Tensor, Tensor, Tensor]:
    """A block of queries and the keys and values it sees, by query head of a key's; nothing is copied."""
    heads, repeat = key.shape[1], query.shape[1] // key.shape[1]
    seen_keys, seen_values = (states[:, :, keys].expand(repeat, -1, -1, -1) for states in (key, value))
    return kernels.by_group(query[:, :, queries], heads), seen_keys, seen_values
