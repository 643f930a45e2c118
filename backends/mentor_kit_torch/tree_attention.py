"""Attention along a tree, with an exact gradient: short nodes as rows of a batch, long ones span by span.

Keys and values of a long node are never copied: all tokens below attend to it at once, and the result is merged with
their attention to other nodes (`mentor_kit_torch.kernels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mentor_kit_torch import kernels
from mentor_kit_torch.determinism import each_once
from mentor_kit_torch.kernels import Part, PartKernels
from mentor_kit_torch.tree_rows import ChainRows, States


@dataclass(frozen=True)
class Span:
    """A block of queries and the block of keys they attend to: all of it, or causally where both are the same."""

    queries: slice
    keys: slice

    @property
    def causal(self) -> bool:
        """Whether a node attends to itself."""
        return self.queries == self.keys

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key whose scores are computed."""
        pairs: int = (self.queries.stop - self.queries.start) * (self.keys.stop - self.keys.start)
        return pairs // 2 if self.causal else pairs


@dataclass(frozen=True)
class Layout:
    """Which tokens attend to which: every token is in some rows, or in a span of its own node."""

    rows: tuple[ChainRows, ...]
    own: tuple[Span, ...]
    above: tuple[Span, ...]

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key whose scores are computed."""
        return sum(rows.pairs for rows in self.rows) + sum(span.pairs for span in (*self.own, *self.above))


def attend(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float, by: PartKernels | None = None
) -> Tensor:
    """(1, H, M, D) from packed queries (1, H, M, D), keys and values (1, K, M, D) with K dividing H.

    Parts are done `by` these kernels, in the backward pass too.
    """
    out: Tensor = TreeAttention.apply(*map(_by_token, (query, key, value)), layout, scale, by)  # type: ignore[no-untyped-call]
    return _by_head(out)


class TreeAttention(torch.autograd.Function):
    """As `attend`, of states by token: (M, H, D) and (M, K, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Layout,
        scale: float,
        by: PartKernels | None,
    ) -> Tensor:
        """(M, H, D)."""
        states = query.contiguous(), key.contiguous(), value.contiguous()
        with kernels.using(by):
            out, lse = _attended(states, layout, scale)
        ctx.save_for_backward(*states, out, lse)
        ctx.layout, ctx.scale, ctx.by = layout, scale, by
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value, each part from the merged result."""
        query, key, value, out, lse = ctx.saved_tensors
        with kernels.using(ctx.by):
            found = _gradients_of_all(grads[0], (query, key, value), (out, lse), ctx.layout, ctx.scale)
        return *found, None, None, None


def _attended(states: States, layout: Layout, scale: float) -> Part:
    """(M, H, D) and (M, H)."""
    query = states[0]
    out, lse = torch.empty_like(query), query.new_empty(query.shape[:2], dtype=torch.float32)
    for rows in layout.rows:
        part, part_lse = rows.attend(states, scale)
        with each_once(out):
            out.index_copy_(0, rows.places, part)
            lse.index_copy_(0, rows.places, part_lse)
    for span in layout.own:
        out[span.queries], lse[span.queries] = _attend(span, states, scale)
    for span in layout.above:
        block = span.queries
        out[block], lse[block] = kernels.merge([(out[block], lse[block]), _attend(span, states, scale)])
    return out, lse


def _gradients_of_all(grad: Tensor, states: States, merged: Part, layout: Layout, scale: float) -> States:
    query, key, value = states
    # every token's own node fills its place; gradients from other nodes are added
    totals = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
    copies = [[rows.chains.zeros(part) for part in (key, value)] for rows in layout.rows]
    for rows, copied in zip(layout.rows, copies, strict=True):
        rows.gradients(grad, states, merged, scale, totals, copied)
    for span in layout.own:
        for total, part in zip(totals, _gradients(span, grad, states, merged, scale), strict=True):
            total[span.queries] = part
    for span in layout.above:
        found = _gradients(span, grad, states, merged, scale)
        for total, block, part in zip(totals, (span.queries, span.keys, span.keys), found, strict=True):
            total[block] += part
    for rows, copied in zip(layout.rows, copies, strict=True):
        for total, part in zip(totals[1:], copied, strict=True):
            rows.chains.add(total, part)
    return totals


def _attend(span: Span, states: States, scale: float) -> Part:
    """(m, H, D) and (m, H)."""
    out, lse = kernels.attend(*_block(span, states), scale, causal=span.causal)
    return _by_token(out), _by_token(lse)


def _gradients(span: Span, grad: Tensor, states: States, merged: Part, scale: float) -> States:
    given, out, lse = (_by_head(part[span.queries]) for part in (grad, *merged))
    found = kernels.gradients(given, *_block(span, states), (out, lse), scale, causal=span.causal)
    queries, keys, values = map(_by_token, found)
    return queries, keys, values


def _block(span: Span, states: States) -> States:
    """A span's queries, keys and values, as views."""
    query, key, value = states
    return _by_head(query[span.queries]), _by_head(key[span.keys]), _by_head(value[span.keys])


def _by_head(states: Tensor) -> Tensor:
    """(m, H, …) as (1, H, m, …)."""
    return states.transpose(0, 1).unsqueeze(0)


def _by_token(states: Tensor) -> Tensor:
    """The inverse of `_by_head`."""
    return states[0].transpose(0, 1)
