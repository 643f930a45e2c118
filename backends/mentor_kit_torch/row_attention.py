"""Attention of rows that sample: to their own keys and values, and to a beginning that is kept once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from mentor_kit_torch import kernels
from mentor_kit_torch.attention_backend import PLAIN_SCORES, ScoreChanges, fold, unfold
from mentor_kit_torch.cuda_kernels import aligned
from mentor_kit_torch.kernels import Part


@dataclass(frozen=True)
class RowAttention:
    """The `AttentionPlan` of one pass; with a beginning, two parts of attention are merged."""

    beginning: Cache
    """Holds it in its first row."""
    length: int
    """Of the beginning; 0 if there is none."""
    start: int | None = None
    """Where all rows' queries begin, counted from the beginning's end, if it is one place: no mask is needed then."""
    _bias: list[Tensor] = field(default_factory=list, init=False)
    """What the rows' mask comes to, once it is needed: it is the same for all layers."""
    _folded: dict[int, Tensor] = field(default_factory=dict, init=False)
    """The same for the query heads of a key below each other, by their number."""

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
        """As `AttentionPlan.attend`; the mask (n, 1, T, L) is about the rows' own keys and values."""
        assert mask is not None
        changes.refuse()
        if not self.length and query.shape[2] == 1:
            return self._alone(query, key, value, mask, scale)
        parts = self._own(query, key, value, mask, scale)
        if self.length:
            held = self.beginning.layers[layer]
            begin = held.keys[:1, :, : self.length], held.values[:1, :, : self.length]
            out, lse = kernels.attend(fold(query, key.shape[1]), *begin, scale)
            parts.append((unfold(out, query.shape), unfold(lse, query.shape)))
        return kernels.merge(parts)[0]

    def _alone(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        # plain products, as one query is too little work for a kernel of its own
        scores = _by_key(query, key) @ key.transpose(-1, -2)
        weights = torch.softmax(scores.float() * scale + self._bias_of(mask, query), dim=-1).to(value.dtype)
        return (weights @ value).reshape(query.shape)

    def _own(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> list[Part]:
        if query.shape[2] == 1:
            # the query heads of a key stand below each other, so that a row's keys are read once
            queries = _by_key(query, key)
            shown = self._bias_of(mask, query).expand(-1, -1, queries.shape[2], -1)
            out, lse = kernels.attend(queries, key, value, scale, bias=shown)
            return [(out.reshape(query.shape), lse.reshape(query.shape[:3]))]
        if self.start is None and query.device.type != "cpu" and _is_shorter(query, key):
            # here, too: the kernel would be given keys and values for each query head
            count, own, times = len(query), key.shape[1], query.shape[1] // key.shape[1]
            if times not in self._folded:
                bias = self._bias_of(mask, query)
                self._folded[times] = aligned(bias.unsqueeze(2).expand(-1, -1, times, -1, -1).flatten(2, 3))
            queries = query.reshape(count, own, -1, query.shape[-1])
            out, lse = kernels.attend(queries, key, value, scale, bias=self._folded[times])
            return [(out.reshape(query.shape), lse.reshape(query.shape[:3]))]
        if self.start is None:
            return [kernels.attend(query, key, value, scale, bias=self._bias_of(mask, query))]
        before, new = (slice(0, self.start), slice(self.start, self.start + query.shape[2]))
        parts = [kernels.attend(query, key[:, :, new], value[:, :, new], scale, causal=True)]
        if self.start:
            parts.append(kernels.attend(query, key[:, :, before], value[:, :, before], scale))
        return parts

    def _bias_of(self, mask: Tensor, query: Tensor) -> Tensor:
        if not self._bias:
            self._bias.append(kernels.bias_of(mask, query.dtype))
        return self._bias[0]


def _by_key(query: Tensor, key: Tensor) -> Tensor:
    """One query of each head, (n, H, 1, D), as (n, K, H / K, D): those that look at one head's keys."""
    return query.reshape(len(query), key.shape[1], -1, query.shape[-1])


def _is_shorter(query: Tensor, key: Tensor) -> bool:
    """Whether a bias for each query head takes less memory than keys and values for each."""
    return query.shape[1] > key.shape[1] and query.shape[2] < 2 * key.shape[1] * key.shape[-1]
