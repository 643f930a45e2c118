"""PyTorch's own attention kernels for CUDA as parts of attention (`mentor_kit_torch.kernels`).

    flash       FlashAttention: 16 bits, no bias; parts with a bias are done by the other
    efficient   memory-efficient attention, of 16 bits and float32, with a bias or without

Both give log-sum-exps, and take the merged ones in the backward pass. That pass runs in PyTorch's strict deterministic
mode, as the kernels add up in any order where PyTorch may merely warn of it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mentor_kit_torch.determinism import algorithms
from mentor_kit_torch.kernels import Gradients, Part, PartInputs, PartKernels

aten = torch.ops.aten
#: The efficient kernel's log-sum-exps of a row are a multiple of so many.
LSE_STEP = 32
#: A bias's rows begin at a multiple of so many numbers.
BIAS_STEP = 16


class EfficientKernels:
    """Memory-efficient attention; keys are copied for each of the query heads that share them."""

    name = "efficient"

    def attend(self, part: PartInputs) -> Part:
        """As `PartKernels.attend`."""
        query, key, value, scale, causal, bias = part
        heads = query.shape[1]
        key, value, bias = _spread(key, heads), _spread(value, heads), _by_head(bias, heads)
        out, lse, *_ = aten._scaled_dot_product_efficient_attention(
            query, key, value, bias, True, 0.0, causal, scale=scale
        )
        return out, lse[..., : query.shape[2]]

    def gradients(self, grad: Tensor, part: PartInputs, merged: Part) -> Gradients:
        """As `PartKernels.gradients`."""
        query, key, value, scale, causal, bias = part
        out, lse = merged
        heads, own = query.shape[1], key.shape[1]
        # at infinity a query that is none has no weights, as behind the kernel's own; padded by none they stay where
        # they are, and the kernel reads those of a head one behind the other
        lse = pad(lse, (0, -lse.shape[-1] % LSE_STEP), value=torch.inf).contiguous()
        given = grad.contiguous(), query, _spread(key, heads), _spread(value, heads), _by_head(bias, heads)
        unused = query.new_empty((), dtype=torch.int64)  # what dropout would draw from
        with algorithms(deterministic=True):
            queries, keys, values, _ = aten._scaled_dot_product_efficient_attention_backward(
                *given, out, lse, unused, unused, 0.0, [True, True, True, False], causal, scale=scale
            )
        return queries, _gathered(keys, own), _gathered(values, own)


class FlashKernels:
    """FlashAttention, where there is no bias."""

    name = "flash"

    def __init__(self) -> None:
        self._biased = EfficientKernels()

    def attend(self, part: PartInputs) -> Part:
        """As `PartKernels.attend`."""
        if part.bias is not None:
            return self._biased.attend(part)
        query, key, value, scale, causal, _ = part
        out, lse, *_ = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, False, scale=scale)
        return out, lse

    def gradients(self, grad: Tensor, part: PartInputs, merged: Part) -> Gradients:
        """As `PartKernels.gradients`."""
        if part.bias is not None:
            return self._biased.gradients(grad, part, merged)
        query, key, value, scale, causal, _ = part
        out, lse = merged
        # what dropout would draw from
        seed = torch.zeros(2, dtype=torch.uint64, device=query.device)
        sizes = None, None, query.shape[2], key.shape[2]
        with algorithms(deterministic=True):
            found: Gradients = aten._scaled_dot_product_flash_attention_backward(
                grad.contiguous(),
                query,
                key,
                value,
                out,
                lse.contiguous(),
                *sizes,
                0.0,
                causal,
                seed,
                seed,
                scale=scale,
            )
        return found


#: Kernels by the names that `backend.attention_kernels` has, in the order in which they are tried.
CUDA_KERNELS: dict[str, PartKernels] = {kernels.name: kernels for kernels in (FlashKernels(), EfficientKernels())}


def _spread(states: Tensor, heads: int) -> Tensor:
    """Keys or values (B, K, L, D) for each query head, (B, heads, L, D)."""
    own = states.shape[1]
    return states if own == heads else states.repeat_interleave(heads // own, dim=1)


def _gathered(gradients: Tensor, own: int) -> Tensor:
    """The inverse of `_spread`, of gradients."""
    count, heads, *rest = gradients.shape
    return gradients if own == heads else gradients.reshape(count, own, heads // own, *rest).sum(dim=2)


def _by_head(bias: Tensor | None, heads: int) -> Tensor | None:
    """A bias (B, 1, T, L) for each head."""
    return None if bias is None else aligned(bias).expand(-1, heads, -1, -1)


def aligned(bias: Tensor) -> Tensor:
    """A bias (…, L) whose rows begin where the memory-efficient kernel reads them."""
    length = bias.shape[-1]
    if bias.shape[-2] > 1 and all(stride % BIAS_STEP == 0 for stride in bias.stride()[:-1]):
        return bias
    return bias if length % BIAS_STEP == 0 else pad(bias, (0, -length % BIAS_STEP))[..., :length]
