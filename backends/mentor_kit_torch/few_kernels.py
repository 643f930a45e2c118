"""A decoder layer's pass over one token a row in few kernels, for devices that wait for each to be launched.

| kernels | do |
| ---: | --- |
| 1 | RMS norm |
| 1 | queries, keys and values, whose weights lie behind each other (`join`) |
| 2 | norms of queries and keys, in models that have them |
| 2 | rotary positions: products with a matrix for each row, which is made once a pass |
| 2 | writing keys and values; 1 behind norms, as they are beside each other then |
| 1 | attention, by PyTorch's memory-efficient kernel |
| 1 | the output's product, added to the residual |
| 1 | RMS norm |
| 1 | gate and up, whose weights lie behind each other |
| 2 | the gated unit |
| 1 | the product down, added to the residual |

These are 13, and 14 with norms (Qwen3). A kept beginning takes five more (six in 16 bits): the queries of all rows are
put below each other, attend to it, and three kernels (four) merge the two. An adapter adds its own products, and
weights that are quantized are multiplied one by one. A trial compares this with PyTorch's plain operations when a
student is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mentor_kit.backend.folders import first_line
from mentor_kit_torch import kernels
from mentor_kit_torch.attention_backend import fold
from mentor_kit_torch.cuda_kernels import aligned
from mentor_kit_torch.forward import ForwardPasses
from mentor_kit_torch.fused_llama import rms_norm
from mentor_kit_torch.kernels import bias_of
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.row_states import TorchRowStates
from mentor_kit_torch.self_check import agree, shallow, trial_tokens

logger = logging.getLogger("mentor_kit_torch")


@torch.no_grad()
def use_few_kernels(lm: TorchLMWrapper) -> bool:
    """Run a model's decoding passes in few kernels, if it is of Llama's kind and that gives what plain operations do.

    Returns:
        Whether they are.
    """
    if lm.fused is None or lm.fused.compiled is not None:
        return False
    fault = "they give other results than plain operations on this machine"
    with shallow(lm):
        expected = _outcome(lm)
        lm.fused.compiled = FewKernels()
        try:
            if agree(lm, _outcome(lm), expected):
                fault = ""
        except (RuntimeError, NotImplementedError) as error:
            fault = first_line(error)
    if fault:
        lm.fused.compiled = None
        logger.warning("%s: decoding in few kernels is left out: %s", lm.config.model_type, fault)
        return False
    for layer in lm.decoder.layers:
        join((layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj))
        join((layer.mlp.gate_proj, layer.mlp.up_proj))
    return True


class FewKernels:
    """A decoder's layers of Llama's kind on one token a row."""

    def __init__(self) -> None:
        self._eyes: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __call__(
        self, layers: Any, states: Tensor, places: tuple[Tensor, Tensor], plan: Any, mask: Tensor, cache: Any
    ) -> Tensor:
        """As `mentor_kit_torch.fused_llama.DecodeLayers`; the states that are given are overwritten."""
        flat = states[:, 0]
        turn = self._turn(*(part[:, 0, 0] for part in places))
        bias = None
        for index, layer in enumerate(layers):
            own, begin = cache.layers[index], plan.beginning.layers[index]
            beginning = (begin.keys[:1, :, : plan.length], begin.values[:1, :, : plan.length]) if plan.length else None
            if bias is None:
                bias = _bias(mask, layer.self_attn, states.dtype)
            normed = rms_norm(flat, layer.input_layernorm)
            out = _attended(layer.self_attn, normed, _Seen(turn, own, bias, beginning))
            flat = _added(flat, layer.self_attn.o_proj, out)
            flat = _added(flat, layer.mlp.down_proj, _gated(layer, flat))
        return flat.unsqueeze(1)

    def _turn(self, cos: Tensor, sin: Tensor) -> Tensor:
        """(n, D, D): products with it turn row vectors by cosines and sines (n, D)."""
        width = cos.shape[-1]
        key = (width, cos.dtype)
        if key not in self._eyes:
            half, eye = width // 2, torch.eye(width, dtype=cos.dtype, device=cos.device)
            # the second half's numbers come to the first one's places with the other sign
            self._eyes[key] = eye, torch.cat([-eye[:, half:], eye[:, :half]], dim=1)
        same, across = self._eyes[key]
        return torch.addcmul(same * cos.unsqueeze(1), across, sin.unsqueeze(1))


@dataclass(frozen=True)
class _Seen:
    """What a layer's attention takes besides its states."""

    turn: Tensor
    own: Any
    """`CachedKeysAndValues` of the rows, aimed at the pass."""
    bias: Tensor
    """(n · K, 1, H / K, L)."""
    beginning: tuple[Tensor, Tensor] | None
    """Keys and values (1, K, B, D) that all rows see besides."""


def _bias(mask: Tensor, attention: Any, dtype: torch.dtype) -> Tensor:
    """What attention adds to the scores of all rows and key heads, by a mask (n, 1, 1, L)."""
    groups, heads = attention.num_key_value_groups, attention.config.num_attention_heads
    shown = mask.expand(-1, heads // groups, -1, -1).reshape(-1, 1, 1, mask.shape[-1])
    return aligned(bias_of(shown, dtype)).expand(-1, -1, groups, -1)


def _attended(attention: Any, states: Tensor, seen: _Seen) -> Tensor:
    """What the output projection takes, (n, H · D)."""
    width, groups = attention.head_dim, attention.num_key_value_groups
    heads = _product((attention.q_proj, attention.k_proj, attention.v_proj), states).view(len(states), -1, width)
    keyed = heads.shape[1] // (groups + 2)
    query, key, value = torch.split(heads, [groups * keyed, keyed, keyed], dim=1)
    if hasattr(attention, "q_norm"):
        query, normed = rms_norm(query, attention.q_norm), rms_norm(key, attention.k_norm)
        # to where they came from, beside the values
        torch.bmm(normed, seen.turn, out=key)
        seen.own.write(key, value, heads[:, groups * keyed :])
    else:
        seen.own.write(torch.bmm(key, seen.turn), value)
    query = torch.bmm(query, seen.turn)
    count, length = len(states), seen.own.aim.length
    # the query heads of a key stand below each other, so that a row's keys are read once; rows and key heads are one
    # dimension, so that the heads of what comes out are in their order
    keys, values = (part[:count].flatten(0, 1)[:, None, :length] for part in (seen.own.keys, seen.own.values))
    out, lse = _attention(query.view(-1, 1, groups, width), keys, values, seen.bias, attention.scaling)
    if seen.beginning is not None:
        # the queries of all rows below each other, so that its keys are read once
        begin, begin_lse = (
            part[0].reshape(keyed, count, groups, *part.shape[3:]).transpose(0, 1)
            for part in kernels.attend(fold(query.unsqueeze(2), keyed), *seen.beginning, attention.scaling)
        )
        out = out.view(count, keyed, groups, width)
        share = torch.sigmoid(begin_lse - lse.view(count, keyed, -1)[..., :groups])
        out.lerp_(begin, share.unsqueeze(-1).to(out.dtype))
    return out.reshape(count, -1)


def _attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Attention (n, K, T, D) of queries to keys and values (n, K, L, D), and the logarithms of their sums (n, K, …)."""
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, bias, True, scale=scale)
    return out, lse


def _gated(layer: Any, states: Tensor) -> Tensor:
    """What the product down takes, (n, inner)."""
    normed = rms_norm(states, layer.post_attention_layernorm)
    gate, up = _product((layer.mlp.gate_proj, layer.mlp.up_proj), normed).chunk(2, dim=-1)
    return functional.silu(gate).mul_(up)


def _added(states: Tensor, project: Any, values: Tensor) -> Tensor:
    """States (n, width) and a linear layer's result for values, in the states' memory where it is a plain product."""
    if type(project) is nn.Linear and project.bias is None:
        return states.addmm_(values, project.weight.T)
    return states.add_(project(values))


def _product(projects: Sequence[Any], states: Tensor) -> Tensor:
    """Results of linear layers behind each other, (n, …); one product where their weights lie behind each other."""
    if all(type(project) is nn.Linear for project in projects):
        weights = joined([project.weight for project in projects])
        biases = [project.bias for project in projects if project.bias is not None]
        bias = joined(biases) if biases else None
        if weights is not None and len(biases) in (0, len(projects)) and (bias is not None or not biases):
            return functional.linear(states, weights, bias)
    return torch.cat([project(states) for project in projects], dim=-1)


def joined(tensors: Sequence[Tensor]) -> Tensor | None:
    """Tensors that lie behind each other in memory as one; None where they do not."""
    place = tensors[0].data_ptr()
    for tensor in tensors:
        if tensor.data_ptr() != place or not tensor.is_contiguous():
            return None
        place += tensor.nbytes
    first, rows = tensors[0].detach(), sum(len(tensor) for tensor in tensors)
    return first.as_strided((rows, *first.shape[1:]), first.stride())


@torch.no_grad()
def join(layers: Sequence[Any]) -> None:
    """Put the weights of linear layers, and their biases, behind each other in memory; others stay as they are."""
    if not all(type(layer) is nn.Linear for layer in layers):
        return
    for name in ("weight", "bias"):
        own = [getattr(layer, name) for layer in layers]
        if any(part is None for part in own) or len({(part.dtype, part.device, part.shape[1:]) for part in own}) > 1:
            continue
        whole = torch.cat([part.data for part in own])
        for part, data in zip(own, torch.split(whole, [len(part) for part in own]), strict=True):
            part.data = data


def _outcome(lm: TorchLMWrapper) -> Tensor:
    """Hidden states (4, 1, width) after two sequences, of which the last token is run by itself, in two ways."""
    found = []
    ids, places = trial_tokens(lm)
    for base in (0, 2):
        rows, beginning = TorchRowStates(lm.config), TorchRowStates(lm.config)
        passes = ForwardPasses(lm, beginning, parts=True)
        beginning.reserve(1, 128)
        passes.run(beginning, ids[:1, :2], places[:1, :2], 2)
        rows.reserve(8, 128)
        rows.base = base
        passes.run(rows, ids[:, base:4], places[:, base:4], 4)
        found.append(passes.run(rows, ids[:, 4:], places[:, 4:], base + 16).float())
    return torch.cat(found)
