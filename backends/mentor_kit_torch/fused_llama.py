"""Decoders of Llama's kind, run with fewer operations than in transformers, and less kept for the backward pass.

RMS norms, rotary positions and gated units are single functions with gradients of their own; projections are the
model's own modules, so that adapters and quantised weights still work. Llama, Qwen2, Qwen3 and SmolLM2 are of this
kind. A model is found to be by the modules it has and by a comparison with transformers' own result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mentor_kit_torch.attention_backend import AttentionPlan

#: The method of a sharded layer that runs it as `through` does.
SHARDED_PASS = "sharded_pass"
_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_HEAD_NORMS = {"q_norm", "k_norm"}
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_DECODER = {"embed_tokens", "layers", "norm", "rotary_emb"}


class DecodeLayers(Protocol):
    """Runs a decoder's layers of Llama's kind on one token a row."""

    def __call__(
        self, layers: Any, states: Tensor, places: tuple[Tensor, Tensor], plan: Any, mask: Tensor, cache: Any
    ) -> Tensor:
        """States (n, 1, width) after the layers.

        Args:
            layers: of transformers.
            states: of the rows' new tokens; they may be overwritten.
            places: their cosines and sines, (n, 1, 1, D).
            plan: a `RowAttention`.
            mask: (n, 1, 1, L) booleans, about the rows' own keys and values.
            cache: of `TorchRowStates` that are aimed at this pass.
        """
        ...


class FusedLlama:
    """A decoder's forward pass under an attention plan.

    Args:
        decoder: of transformers, with the modules that `fits` requires.
        recompute: keep only the input of each layer for the backward pass, and recompute the layer there. An update has
            no keys and values of earlier passes, with which gradients would be wrong.
    """

    def __init__(self, decoder: Any, *, recompute: bool = False) -> None:
        self.compiled: DecodeLayers | None = None
        """Runs the layers on one token of each of the first rows of a cache (`mentor_kit_torch.compiled`)."""
        self._decoder = decoder
        self.recompute = recompute

    @staticmethod
    def fits(decoder: Any) -> bool:
        """Whether a decoder has the modules of Llama's kind, and no others."""
        if decoder is None or _modules(decoder) != _DECODER or _scales_by_place(decoder.config):
            return False
        return all(_layer_fits(layer) for layer in decoder.layers)

    def __call__(
        self, ids: Tensor, positions: Tensor, plan: AttentionPlan, mask: Any = None, cache: Any = None
    ) -> Tensor:
        """Hidden states (n, T, width) of tokens (n, T) at positions (n, T).

        Args:
            ids: tokens.
            positions: their places in their sequences.
            plan: how they attend.
            mask: for the plan.
            cache: of transformers; None keeps no keys and values.
        """
        decoder = self._decoder
        states: Tensor = decoder.embed_tokens(ids)
        cos, sin = (part.unsqueeze(2) for part in decoder.rotary_emb(states, positions))
        if self.compiled is not None and _decodes(ids, cache):
            return rms_norm(self.compiled(decoder.layers, states, (cos, sin), plan, mask, cache), decoder.norm)
        again = self.recompute and torch.is_grad_enabled() and cache is None
        for index, layer in enumerate(decoder.layers):
            how = _How(index, (cos, sin), plan, mask, cache)
            # a sharded layer has a pass of its own, which gathers its weights
            run = getattr(layer, SHARDED_PASS, None) or partial(through, layer)
            # the plan is an argument, so that the second pass attends as the first one did
            states = checkpoint(run, states, how, use_reentrant=False) if again else run(states, how)
        return rms_norm(states, decoder.norm)


@dataclass(frozen=True)
class _How:
    """Arguments of a layer besides its states."""

    layer: int
    places: tuple[Tensor, Tensor]
    """Cosines and sines, (n, T, 1, D)."""
    plan: AttentionPlan
    mask: Any
    cache: Any


def through(layer: Any, states: Tensor, how: _How) -> Tensor:
    """States (n, T, width) after a layer."""
    states = states + _attended(layer.self_attn, rms_norm(states, layer.input_layernorm), how)
    return states + fed_forward(layer, states)


def fed_forward(layer: Any, states: Tensor) -> Tensor:
    """The residual of a layer's feed-forward half for states (…, width)."""
    normed, mlp = rms_norm(states, layer.post_attention_layernorm), layer.mlp
    found: Tensor = mlp.down_proj(gated(mlp.gate_proj(normed), mlp.up_proj(normed)))
    return found


def projected(attention: Any, states: Tensor, places: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (n, T, H, D), keys and values (n, T, K, D) of states (n, T, width), rotated to their positions."""
    width = attention.head_dim
    query, key, value = (
        project(states).unflatten(-1, (-1, width)) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if hasattr(attention, "q_norm"):
        query, key = rms_norm(query, attention.q_norm), rms_norm(key, attention.k_norm)
    return rotated(query, *places), rotated(key, *places), value


def _attended(attention: Any, states: Tensor, how: _How) -> Tensor:
    query, key, value = (part.transpose(1, 2) for part in projected(attention, states, how.places))
    if how.cache is not None:
        key, value = how.cache.update(key, value, how.layer)
    out = how.plan.attend(how.layer, query, key, value, how.mask, attention.scaling)
    found: Tensor = attention.o_proj(out.transpose(1, 2).flatten(2))
    return found


def rms_norm(states: Tensor, norm: Any) -> Tensor:
    """RMS norm of states (…, width) by a module of transformers, with `weight` and an epsilon."""
    epsilon = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
    if states.dtype != norm.weight.dtype or states.device.type != "cpu":
        return torch.rms_norm(states, states.shape[-1:], norm.weight, epsilon)
    if torch.is_grad_enabled():
        found: Tensor = RMSNorm.apply(states, norm.weight, epsilon)  # type: ignore[no-untyped-call]
        return found
    return _normed(states, norm.weight, _inverse_root(states, epsilon))


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """States (n, T, H, D) turned to their positions by cos and sin (n, T, 1, D); their halves are pairs."""
    if torch.is_grad_enabled():
        found: Tensor = Rotation.apply(states, cos, sin)  # type: ignore[no-untyped-call]
        return found
    return _turned(states, cos, sin, 1)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    if torch.is_grad_enabled():
        found: Tensor = GatedActivation.apply(gate, up)  # type: ignore[no-untyped-call]
        return found
    return functional.silu(gate).mul_(up)


class RMSNorm(torch.autograd.Function):
    """x / sqrt(mean x² + ε) · w, with the input and the root kept."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """(…, width)."""
        root = _inverse_root(states, epsilon)
        ctx.save_for_backward(states, weight, root)
        return _normed(states, weight, root)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """With y = x · r: r · (g · w - y · mean(g · w · y)) for x, and the sum of g · y for w."""
        states, weight, root = ctx.saved_tensors
        (grad,) = grads
        unit, grad = states * root, grad.float()
        total = (grad * unit).flatten(0, -2).sum(dim=0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        pull = grad * weight
        along = torch.linalg.vecdot(pull, unit).unsqueeze(-1).div_(states.shape[-1])
        return pull.sub_(unit.mul_(along)).mul_(root).to(states.dtype), total, None


class Rotation(torch.autograd.Function):
    """`rotated`, whose gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(n, T, H, D)."""
        ctx.save_for_backward(cos, sin)
        return _turned(states, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the states."""
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, sin, -1), None, None


class GatedActivation(torch.autograd.Function):
    """silu(gate) * up, with the inputs kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """(…, width)."""
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the gate and of what it scales."""
        gate, up = ctx.saved_tensors
        (grad,) = grads
        pulled: Tensor = torch.ops.aten.silu_backward(grad * up, gate)
        return pulled, functional.silu(gate).mul_(grad)


def _normed(states: Tensor, weight: Tensor, root: Tensor) -> Tensor:
    """In the states' own type, rounded before the weight as transformers does."""
    return (states * root).to(states.dtype).mul_(weight)


def _inverse_root(states: Tensor, epsilon: float) -> Tensor:
    """(…, 1) in float32."""
    squares: Tensor = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32).square_()
    return squares.div_(states.shape[-1]).add_(epsilon).rsqrt_()


def _turned(states: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    """Of states x with halves x₁ and x₂: x · cos + (-x₂, x₁) · sin, or its transpose."""
    half = states.shape[-1] // 2
    out = states * cos
    out[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-direction)
    out[..., half:].addcmul_(states[..., :half], sin[..., half:], value=direction)
    return out


def _decodes(ids: Tensor, cache: Any) -> bool:
    """Whether a pass is over one token of each of the first rows."""
    return cache is not None and ids.shape[1] == 1 and cache.layers[0].aim.chosen is None


def _scales_by_place(config: Any) -> bool:
    """Whether queries at late positions are scaled up, as in Ministral 3; a trial of few tokens does not show it."""
    return (getattr(config, "rope_parameters", None) or {}).get("llama_4_scaling_beta") is not None


def _layer_fits(layer: Any) -> bool:
    attention = getattr(layer, "self_attn", None)
    if _modules(layer) != _LAYER or not hasattr(attention, "scaling") or not hasattr(attention, "head_dim"):
        return False
    # transformers has a class of its own for it
    silu = "SiLU" in type(getattr(layer.mlp, "act_fn", None)).__name__
    return silu and _modules(layer.mlp) == _MLP and _modules(attention) - _HEAD_NORMS == _ATTENTION


def _modules(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}
