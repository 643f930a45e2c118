"""Short nodes of a tree as rows of a batch, each beside its own copy of the short nodes above it.

Shapes: states (M, H, D) are packed; a batch of n rows has up to t own tokens each, and up to a copied ones before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mentor_kit_torch import kernels
from mentor_kit_torch.determinism import each_once
from mentor_kit_torch.kernels import Part

#: A log-sum-exp so large that every score vanishes beside it.
FAR = 1e6
#: Biases of more numbers than this are built for each layer rather than kept.
LARGEST_KEPT_BIAS = 1 << 24

States = tuple[Tensor, Tensor, Tensor]
"""Queries (M, H, D), keys and values (M, K, D), with K dividing H."""


@dataclass(frozen=True)
class Node:
    """A node of the tree, and the short ones above it."""

    span: slice
    above: tuple[slice, ...]
    """From the root."""


@dataclass(frozen=True)
class Chains:
    """Chains of short nodes above each other: c of up to a tokens."""

    places: Tensor
    """(c, a): their packed places; padding points to place 0."""
    inside: Tensor
    """(c, a): False at padding."""

    @staticmethod
    def of(spans: Sequence[tuple[slice, ...]]) -> Chains:
        """The chains of these nodes, on the CPU."""
        rows = [np.concatenate([np.zeros(0, np.int64), *map(_places, nodes)]) for nodes in spans]
        width = max(map(len, rows))
        places = np.stack([np.pad(row, (0, width - len(row))) for row in rows])
        inside = np.arange(width) < np.array([len(row) for row in rows])[:, None]
        return Chains(torch.from_numpy(places), torch.from_numpy(inside))

    def zeros(self, states: Tensor) -> Tensor:
        """Zeros (c, a, K, D) for gradients of copies of states (M, K, D)."""
        return states.new_zeros(*self.places.shape, *states.shape[1:])

    def add(self, total: Tensor, gradients: Tensor) -> None:
        """Add gradients (c, a, K, D) to the packed ones (M, K, D); those of padding are 0."""
        total.index_add_(0, self.places.flatten(), gradients.flatten(0, 1))


@dataclass(frozen=True)
class ChainRows:
    """A batch of n nodes of about one length."""

    chains: Chains
    chain_of: Tensor
    """(n,)."""
    own: Tensor
    """(n * t,): the packed place of each own token; padding points to place 0."""
    padding: Tensor
    """(n, t)."""
    inside: Tensor
    """(m,): the own tokens that are not padding, as indices into the n * t."""
    places: Tensor
    """(m,): their packed places."""
    _biases: list[Tensor] = field(default_factory=list, init=False, repr=False)
    """The bias, built when it is first needed."""

    @staticmethod
    def of(nodes: Sequence[Node]) -> ChainRows:
        """The rows of these nodes, on the CPU."""
        # slices have no hash before Python 3.12
        above = [tuple((each.start, each.stop) for each in node.above) for node in nodes]
        chains = {key: node.above for key, node in zip(above, nodes, strict=True)}
        number = {key: index for index, key in enumerate(chains)}
        lengths = np.array([node.span.stop - node.span.start for node in nodes])
        starts = np.array([node.span.start for node in nodes])
        inside = np.arange(lengths.max()) < lengths[:, None]
        places = np.where(inside, starts[:, None] + np.arange(lengths.max()), 0)
        return ChainRows(
            chains=Chains.of(list(chains.values())),
            chain_of=torch.from_numpy(np.array([number[key] for key in above])),
            own=torch.from_numpy(places.reshape(-1)),
            padding=torch.from_numpy(~inside),
            inside=torch.from_numpy(np.nonzero(inside.reshape(-1))[0]),
            places=torch.from_numpy(places[inside]),
        )

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key whose scores are computed."""
        count, width = self.padding.shape
        return count * width * (width + self.chains.places.shape[1])

    def attend(self, states: States, scale: float) -> Part:
        """Attention of the rows' own tokens, (m, H, D), and its log-sum-exps, (m, H)."""
        query, key, value = states
        out, lse = kernels.attend(self._own(query), self._keys(key), self._keys(value), scale, bias=self._bias(query))
        return self._packed(out), self._packed(lse)

    def gradients(
        self, grad: Tensor, states: States, merged: Part, scale: float, totals: States, copies: Sequence[Tensor]
    ) -> None:
        """Write the gradients of the rows' own tokens to their places, and add those of the chains' copies to `copies`.

        Args:
            grad: (M, H, D), of the merged out.
            states: packed.
            merged: (M, H, D) and (M, H).
            scale: of the scores.
            totals: like `states`.
            copies: of keys and of values, as `Chains.zeros` makes them.
        """
        query, key, value = states
        hidden = self.padding.unsqueeze(1)
        # a padding token's weights and gradient are 0, so that it adds to no key's gradient
        given = self._own(grad).masked_fill(hidden.unsqueeze(-1), 0.0)
        out, lse = self._own(merged[0]), self._own(merged[1]).masked_fill(hidden, FAR)
        rows = self._own(query), self._keys(key), self._keys(value)
        found = kernels.gradients(given, *rows, (out, lse), scale, bias=self._bias(query))
        with each_once(grad):
            totals[0].index_copy_(0, self.places, self._packed(found[0]))
        for total, copied, part in zip(totals[1:], copies, found[1:], strict=True):
            self._add_keys(total, copied, part.transpose(1, 2))

    def _own(self, states: Tensor) -> Tensor:
        """(M, H, …) as (n, H, t, …)."""
        return self._rows(states).transpose(1, 2)

    def _rows(self, states: Tensor) -> Tensor:
        """(M, H, …) as (n, t, H, …)."""
        return states.index_select(0, self.own).reshape(*self.padding.shape, *states.shape[1:])

    def _packed(self, rows: Tensor) -> Tensor:
        """The inverse of `_own`, without padding: (m, H, …)."""
        return rows.transpose(1, 2).flatten(0, 1).index_select(0, self.inside)

    def _keys(self, states: Tensor) -> Tensor:
        """(M, K, D) as (n, K, a + t, D)."""
        own = self._rows(states)
        if not self.chains.places.shape[1]:
            return own.transpose(1, 2)
        above = states.index_select(0, self.chains.places.flatten())
        above = above.reshape(*self.chains.places.shape, *states.shape[1:])
        return torch.cat([above.index_select(0, self.chain_of), own], dim=1).transpose(1, 2)

    def _add_keys(self, total: Tensor, copied: Tensor, gradients: Tensor) -> None:
        """The inverse of `_keys`, of gradients (n, a + t, K, D)."""
        width = copied.shape[1]
        own = gradients[:, width:].reshape(-1, *gradients.shape[2:])
        with each_once(total):
            total.index_copy_(0, self.places, own.index_select(0, self.inside))
        if width:
            copied.index_add_(0, self.chain_of, gradients[:, :width])

    def _bias(self, query: Tensor) -> Tensor:
        """(n, 1, t, a + t): each own token attends to the whole chain and to own tokens up to itself."""
        if self._biases:
            return self._biases[0]
        count, width = self.padding.shape
        causal = torch.ones(width, width, dtype=torch.bool, device=query.device).tril()
        above = self.chains.inside.index_select(0, self.chain_of).unsqueeze(1).expand(-1, width, -1)
        shown = torch.cat([above, causal.expand(count, -1, -1)], dim=2)
        bias = kernels.bias_of(shown.unsqueeze(1), query.dtype)
        if bias.numel() <= LARGEST_KEPT_BIAS:
            self._biases.append(bias)
        return bias


def _places(node: slice) -> np.ndarray:
    return np.arange(node.start, node.stop)
