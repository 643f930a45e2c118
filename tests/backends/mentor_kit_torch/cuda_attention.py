"""What CUDA's attention kernels give, computed on a CPU by their definitions: for a device that is not there.

As on CUDA, FlashAttention takes 16 bits alone, log-sum-exps of memory-efficient attention are padded to a multiple of
32, its bias has to be aligned and expanded, its keys have a head for each query's, and gradients are those of a part
whose share the given output and log-sum-exps say.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _weights(query: Tensor, key: Tensor, scale: float, causal: bool, bias: Tensor | None, lse: Tensor | None) -> Any:
    scores = query.double() @ key.double().transpose(-1, -2) * scale
    if bias is not None:
        scores = scores + bias
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    lse = torch.logsumexp(scores, dim=-1) if lse is None else lse.double()
    return torch.exp(scores - lse.unsqueeze(-1)), lse


def _forward(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, bias: Tensor | None) -> Any:
    weights, lse = _weights(query, key, scale, causal, bias, None)
    return (weights @ value.double()).to(query.dtype), lse.float()


def _backward(grad: Tensor, states: Any, merged: Any, scale: float, causal: bool, bias: Tensor | None) -> Any:
    query, key, value = (part.double() for part in states)
    out, lse = merged
    grad = grad.double()
    weights, _ = _weights(query, key, scale, causal, bias, lse)
    pulls = weights * (grad @ value.transpose(-1, -2) - (grad * out.double()).sum(dim=-1, keepdim=True)) * scale
    found = pulls @ key, pulls.transpose(-1, -2) @ query, weights.transpose(-1, -2) @ grad
    return tuple(part.to(states[0].dtype) for part in found)


def _heads(states: Any) -> Any:
    query, key, value = states
    times = query.shape[1] // key.shape[1]
    return query, key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)


def _check_efficient(query: Tensor, key: Tensor, bias: Tensor | None) -> None:
    if query.shape[1] != key.shape[1]:
        raise RuntimeError("expected as many heads of keys as of queries")
    if query.shape[-1] % (8 if query.dtype.itemsize == 2 else 4):
        raise RuntimeError("query is not correctly aligned")
    if bias is not None:
        if bias.shape != (*query.shape[:3], key.shape[2]):
            raise RuntimeError(f"bias of shape {tuple(bias.shape)}")
        strides = [step for step, size in zip(bias.stride()[:-1], bias.shape[:-1], strict=True) if size > 1]
        if any(step % 8 for step in strides) or bias.stride(-1) != 1 or bias.dtype != query.dtype:
            raise RuntimeError("attn_bias is not correctly aligned")


def efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    with_lse: bool,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float,
) -> Any:
    _check_efficient(query, key, bias)
    out, lse = _forward(query, key, value, scale, causal, bias)
    padded = torch.full((*lse.shape[:2], -(-lse.shape[2] // 32) * 32), torch.inf)
    padded[..., : lse.shape[2]] = lse
    out = out.transpose(1, 2).contiguous().transpose(1, 2)  # heads lie behind queries in its memory
    return out, padded, torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64)


def efficient_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    out: Tensor,
    lse: Tensor,
    seed: Tensor,
    offset: Tensor,
    dropout: float,
    wanted: Any,
    causal: bool = False,
    *,
    scale: float,
) -> Any:
    _check_efficient(query, key, bias)
    if lse.shape[-1] % 32 or lse.dtype != torch.float32 or out.dtype != query.dtype:
        raise RuntimeError("log-sum-exps have to be padded, in float32")
    if lse.stride(-1) != 1:
        raise RuntimeError("the kernel reads a head's log-sum-exps one behind the other, whatever their stride")
    if not torch.are_deterministic_algorithms_enabled() or torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError("Memory Efficient attention defaults to a non-deterministic algorithm")
    merged = out, lse[..., : query.shape[2]]
    return *_backward(grad, (query, key, value), merged, scale, causal, bias), None


def flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float = 0.0,
    causal: bool = False,
    debug: bool = False,
    *,
    scale: float,
) -> Any:
    if query.dtype.itemsize != 2 or query.shape[-1] % 8:
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    out, lse = _forward(*_heads((query, key, value)), scale, causal, None)
    nothing = torch.zeros(2, dtype=torch.int64)
    return out, lse, None, None, query.shape[2], key.shape[2], nothing, nothing, torch.zeros(0)


def flash_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    of_queries: Tensor | None,
    of_keys: Tensor | None,
    queries: int,
    keys: int,
    dropout: float,
    causal: bool,
    seed: Tensor,
    offset: Tensor,
    *,
    scale: float,
) -> Any:
    assert of_queries is of_keys is None
    assert (queries, keys) == (query.shape[2], key.shape[2])
    first, *rest = _backward(grad, _heads((query, key, value)), (out, lse), scale, causal, None)
    own, times = key.shape[1], query.shape[1] // key.shape[1]
    return first, *(part.unflatten(1, (own, times)).sum(dim=2) for part in rest)


STAND_INS: dict[Any, Any] = {
    aten._scaled_dot_product_efficient_attention: efficient,
    aten._scaled_dot_product_efficient_attention_backward: efficient_backward,
    aten._scaled_dot_product_flash_attention: flash,
    aten._scaled_dot_product_flash_attention_backward: flash_backward,
}
