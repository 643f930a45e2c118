"""Attention in parts: over several sets of keys, each computed separately and merged by their log-sum-exps.

A part gives what attention to its keys alone would give, and the log of the sum of their exponentials:

    out = Σ exp(lse_i - lse) · out_i,   lse = log Σ exp(lse_i)

Its gradient takes the merged `out` and `lse`, which makes each part's share exact (as in FlashAttention's backward
pass, arXiv 2205.14135). On a CPU PyTorch's own fused kernel does a part; on CUDA those that a trial chose
(`mentor_kit_torch.attention_trial`); elsewhere, or where a trial shows that they do something else, three matrix
products do.

Shapes: queries (B, H, T, D), keys and values (B, K, L, D) with K dividing H, out (B, H, T, D), lse (B, H, T) in
float32, and a bias (B, 1, T, L) of the queries' type, which is added to the scores; -inf hides a key (`bias_of`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

#: Scores of more numbers than this are computed in chunks of queries.
LARGEST_SCORES = 1 << 26
#: The most keys for which the fused kernel's gradients take several times as long in 16 bits as in float32.
FEW_KEYS = 256

Part = tuple[Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor]


class PartInputs(NamedTuple):
    """What a part of attention is computed from; the module has the shapes."""

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    causal: bool
    """Whether a query sees the keys up to its own position alone."""
    bias: Tensor | None


class PartKernels(Protocol):
    """Kernels that do a part of attention."""

    name: str

    def attend(self, part: PartInputs) -> Part:
        """Out and lse."""
        ...

    def gradients(self, grad: Tensor, part: PartInputs, merged: Part) -> Gradients:
        """Of queries, keys and values, from the merged out and lse and the gradient of out."""
        ...


_USED: ContextVar[PartKernels | None] = ContextVar("mentor_kit_part_kernels", default=None)


@contextmanager
def using(chosen: PartKernels | None) -> Iterator[None]:
    """Do parts by these kernels; None for this module's own."""
    token = _USED.set(chosen)
    try:
        yield
    finally:
        _USED.reset(token)


def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False, bias: Tensor | None = None
) -> Part:
    """Attention to all keys, to those up to each query's own position, or to those a bias allows: (out, lse)."""
    return _kernels(query).attend(PartInputs(query, key, value, scale, causal, bias))


def gradients(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    merged: Part,
    scale: float,
    *,
    causal: bool = False,
    bias: Tensor | None = None,
) -> Gradients:
    """Gradients of one part's queries, keys and values, from the merged out and its gradient (B, H, T, D)."""
    return _kernels(query).gradients(grad, PartInputs(query, key, value, scale, causal, bias), merged)


class PlainKernels:
    """Three matrix products."""

    name = "plain"

    def attend(self, part: PartInputs) -> Part:
        """As `PartKernels.attend`."""
        query, key, value, scale, causal, bias = part
        parts = [_plain(query, key, value, scale, rows, causal, bias) for rows in _blocks(query, key)]
        return torch.cat([out for out, _ in parts], dim=2), torch.cat([lse for _, lse in parts], dim=2)

    def gradients(self, grad: Tensor, part: PartInputs, merged: Part) -> Gradients:
        """As `PartKernels.gradients`."""
        query, key, value, scale, causal, bias = part
        out, lse = merged
        queries, keys, values = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        heads, key, value = key.shape[1], key.unsqueeze(2), value.unsqueeze(2)
        for rows in _blocks(query, key):
            asked, given = (_by_key(states[..., rows, :], heads) for states in (query, grad))
            scores = _scores(asked, key, scale, rows, causal, bias)
            weights = torch.exp(scores - _by_key(lse[..., rows], heads).unsqueeze(-1))
            delta = (given.float() * _by_key(out[..., rows, :], heads).float()).sum(dim=-1, keepdim=True)
            pull = (weights * ((given @ value.transpose(-1, -2)).float() - delta) * scale).to(query.dtype)
            queries[..., rows, :] = (pull @ key).flatten(1, 2)
            keys += (pull.transpose(-1, -2) @ asked).sum(dim=2)
            values += (weights.to(query.dtype).transpose(-1, -2) @ given).sum(dim=2)
        return queries, keys, values


class FusedKernels:
    """PyTorch's fused kernel for CPUs."""

    name = "fused"

    def attend(self, part: PartInputs) -> Part:
        """As `PartKernels.attend`."""
        query, key, value, scale, causal, bias = part
        return _fused(query, key, value, is_causal=causal, attn_mask=bias, scale=scale)

    def gradients(self, grad: Tensor, part: PartInputs, merged: Part) -> Gradients:
        """As `PartKernels.gradients`."""
        query, key, value, scale, causal, bias = part
        given = grad, query, key, value, *merged, 0.0, causal
        if query.dtype.itemsize == 2 and key.shape[2] <= FEW_KEYS:
            return _wide_gradients(*given, bias=bias, scale=scale)
        return _fused_gradients(*given, attn_mask=bias, scale=scale)


PLAIN = PlainKernels()
FUSED = FusedKernels()


def _kernels(query: Tensor) -> PartKernels:
    """Those that are in use, else this module's own for the queries' device."""
    if (chosen := _USED.get()) is not None:
        return chosen
    return FUSED if query.device.type == "cpu" and fused_agrees() else PLAIN


def bias_of(shown: Tensor, dtype: torch.dtype) -> Tensor:
    """The bias that allows the keys at which booleans are true, and no others."""
    return torch.zeros(shown.shape, dtype=dtype, device=shown.device).masked_fill_(~shown, -torch.inf)


def merge(parts: Sequence[Part]) -> Part:
    """Merge attention of the same queries to different keys."""
    out, lse = parts[0]
    for other, other_lse in parts[1:]:
        total = torch.logaddexp(lse, other_lse)
        mine, theirs = ((part - total).exp().unsqueeze(-1).to(out.dtype) for part in (lse, other_lse))
        out, lse = out * mine + other * theirs, total
    return out, lse


def _fused(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Part:
    found: Part = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, **how)
    return found


def _fused_gradients(*parts: Any, **how: Any) -> Gradients:
    found: Gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(*parts, **how)
    return found


def _wide_gradients(grad: Tensor, query: Tensor, *parts: Any, bias: Tensor | None, **how: Any) -> Gradients:
    """As `_fused_gradients`, computed in float32."""
    wide = (part.float() if isinstance(part, Tensor) else part for part in (grad, query, *parts))
    bias = None if bias is None else bias.float()
    queries, keys, values = (found.to(query.dtype) for found in _fused_gradients(*wide, attn_mask=bias, **how))
    return queries, keys, values


@cache
@torch.no_grad()
def fused_agrees() -> bool:
    """Whether there is PyTorch's fused kernel for CPUs, and it gives what plain products give."""
    generator = torch.Generator().manual_seed(0)
    query, grad = (torch.randn(2, 4, 5, 8, generator=generator) for _ in range(2))
    key, value = (torch.randn(2, 2, 5, 8, generator=generator) for _ in range(2))
    bias = bias_of(torch.ones(2, 1, 5, 5, dtype=torch.bool).tril(), query.dtype)
    expected = _plain(query, key, value, 0.5, slice(0, 5), True, None)
    weights = torch.exp(_scores(_by_key(query, 2), key.unsqueeze(2), 0.5, slice(0, 5), True, None))
    weights = weights / weights.sum(dim=-1, keepdim=True)
    pulled = (weights.transpose(-1, -2) @ _by_key(grad, 2)).sum(dim=2)
    try:
        for how in ({"is_causal": True, "attn_mask": None}, {"is_causal": False, "attn_mask": bias}):
            out, lse = _fused(query, key, value, scale=0.5, **how)
            found = _fused_gradients(
                grad, query, key, value, out, lse, 0.0, how["is_causal"], attn_mask=how["attn_mask"], scale=0.5
            )
            pairs = zip((out, lse, found[2]), (*expected, pulled), strict=True)
            if not all(torch.allclose(a, b, atol=1e-5) for a, b in pairs):
                return False
    except (RuntimeError, TypeError, AttributeError):
        return False
    return True


def _plain(
    query: Tensor, key: Tensor, value: Tensor, scale: float, rows: slice, causal: bool, bias: Tensor | None
) -> Part:
    """Attention of a chunk of the queries by plain products."""
    scores = _scores(_by_key(query[..., rows, :], key.shape[1]), key.unsqueeze(2), scale, rows, causal, bias)
    lse = torch.logsumexp(scores, dim=-1)
    out = torch.exp(scores - lse.unsqueeze(-1)).to(value.dtype) @ value.unsqueeze(2)
    return out.flatten(1, 2), lse.flatten(1, 2)


def _scores(query: Tensor, key: Tensor, scale: float, rows: slice, causal: bool, bias: Tensor | None) -> Tensor:
    """Scores in float32 of queries (B, K, H / K, t, D), a chunk of all, with keys (B, K, 1, L, D)."""
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if causal:
        scores = scores.masked_fill_(_behind(rows, key), -torch.inf)
    return scores if bias is None else scores + bias[..., rows, :].unsqueeze(1)


def _by_key(states: Tensor, heads: int) -> Tensor:
    """(B, H, …) as (B, heads, H / heads, …): query heads by their key head."""
    return states.reshape(len(states), heads, -1, *states.shape[2:])


def _behind(rows: slice, key: Tensor) -> Tensor:
    """(T, L): True at the keys behind each query of a chunk."""
    places = torch.arange(rows.start, rows.stop, device=key.device)
    return torch.arange(key.shape[-2], device=key.device) > places.unsqueeze(-1)


def _blocks(query: Tensor, key: Tensor) -> list[slice]:
    """Chunks of queries whose scores are computed together."""
    batch, heads, length, _ = query.shape
    step = max(1, LARGEST_SCORES // max(1, batch * heads * key.shape[-2]))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)] or [slice(0, 0)]
