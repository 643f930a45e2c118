"""A decoder layer's pass over one token a row as one function of tensors, for `torch.compile`.

Sizes are symbols to the compiler, so that one compilation serves all numbers of rows and keys, and all layers. It gives
what `mentor_kit_torch.row_attention` gives, by plain products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mentor_kit.core.errors import BackendError
from mentor_kit_torch.attention_backend import fold, unfold
from mentor_kit_torch.forward import ForwardPasses
from mentor_kit_torch.fused_llama import fed_forward, projected, rms_norm
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.row_attention import RowAttention
from mentor_kit_torch.row_states import TorchRowStates
from mentor_kit_torch.self_check import agree, shallow, trial_tokens

_LEAVE_OUT = "leave `backend.compile` out"


class Held(NamedTuple):
    """A layer's keys and values, and which of them the rows attend to."""

    keys: Tensor
    """(rows, K, room, D); of the first n rows the new key is written."""
    values: Tensor
    rows: Tensor
    """(n,): the first n."""
    places: Tensor
    """(n,): the place that each row's new key and value get."""
    shown: Tensor
    """(n, 1, 1, L) booleans: of each row's first L places."""
    beginning: tuple[Tensor, Tensor] | None
    """Keys and values (1, K, B, D) that all rows see besides."""


class CompiledLayers:
    """A decoder's layers of Llama's kind, compiled when they are first run."""

    def __init__(self) -> None:
        self._decode_layer = torch.compile(decode_layer, dynamic=True)

    def __call__(
        self, layers: Any, states: Tensor, places: tuple[Tensor, Tensor], plan: Any, mask: Tensor, cache: Any
    ) -> Tensor:
        """As `mentor_kit_torch.fused_llama.DecodeLayers`."""
        for index, layer in enumerate(layers):
            states = self._decode_layer(layer, states, places, _held(cache, index, plan, mask))
        return states


@torch.inference_mode()
def compile_decoding(lm: TorchLMWrapper) -> None:
    """Compile a model's layers for passes of one token a row, and compare them with PyTorch.

    Raises:
        BackendError: they are not of Llama's kind, or the compiler fails, or gives other results.
    """
    if lm.fused is None or not lm.masks.full:
        raise BackendError(
            f"layers of {lm.config.model_type} cannot be compiled: they are not of Llama's kind", hint=_LEAVE_OUT
        )
    with shallow(lm):
        expected = _last(lm)
        lm.fused.compiled = CompiledLayers()
        try:
            found = _last(lm)
        except RuntimeError as error:  # the compiler's errors are subclasses
            raise BackendError(
                f"torch.compile failed on this machine: {str(error).strip().splitlines()[0]}", hint=_LEAVE_OUT
            ) from error
    if not agree(lm, found, expected):
        raise BackendError("torch.compile gives other results than PyTorch on this machine", hint=_LEAVE_OUT)


def _last(lm: TorchLMWrapper) -> Tensor:
    """Hidden states (2, 1, width) after two sequences, of which the last token is run by itself."""
    states = TorchRowStates(lm.config)
    passes = ForwardPasses(lm, TorchRowStates(lm.config), parts=True)
    ids, places = trial_tokens(lm)
    states.reserve(8, 128)
    passes.run(states, ids[:, :4], places[:, :4], 4)
    return passes.run(states, ids[:, 4:], places[:, 4:], 5).float()


def decode_layer(layer: Any, states: Tensor, places: tuple[Tensor, Tensor], held: Held) -> Tensor:
    """States (n, 1, width) after one layer; the new tokens' keys and values are written to what is held."""
    states = states + _attended(layer.self_attn, rms_norm(states, layer.input_layernorm), places, held)
    return states + fed_forward(layer, states)


def _held(cache: Any, layer: int, plan: RowAttention, mask: Tensor) -> Held:
    own, begin = cache.layers[layer], plan.beginning.layers[layer]
    beginning = (begin.keys[:1, :, : plan.length], begin.values[:1, :, : plan.length]) if plan.length else None
    return Held(own.keys, own.values, own.aim.written, own.aim.places[:, 0], mask, beginning)


def _attended(attention: Any, states: Tensor, places: tuple[Tensor, Tensor], held: Held) -> Tensor:
    query, key, value = (part[:, 0] for part in projected(attention, states, places))
    held.keys[held.rows, :, held.places] = key
    held.values[held.rows, :, held.places] = value
    by_key = query.view(len(query), key.shape[1], -1, query.shape[-1])
    out = _seen(by_key, held, attention.scaling)
    found: Tensor = attention.o_proj(out.flatten(1).unsqueeze(1))
    return found


def _seen(query: Tensor, held: Held, scale: float) -> Tensor:
    """Attention of queries (n, K, G, D), G to each key head, to their rows' keys and the shared prefix's."""
    count, length = len(query), held.shown.shape[-1]
    keys, values = held.keys[:count, :, :length], held.values[:count, :, :length]
    scores = (query @ keys.transpose(-1, -2)).float() * scale
    scores = scores.masked_fill(~held.shown, -torch.inf)
    if held.beginning is None:
        return torch.softmax(scores, dim=-1).to(values.dtype) @ values
    begin_keys, begin_values = held.beginning
    # the queries of all rows as one, so that the shared prefix is read once
    asked = fold(query, query.shape[1])
    begin = unfold((asked @ begin_keys.transpose(-1, -2)).float() * scale, query.shape)
    weights = torch.softmax(torch.cat([begin, scores], dim=-1), dim=-1).to(values.dtype)
    of_begin, of_own = weights[..., : begin.shape[-1]], weights[..., begin.shape[-1] :]
    return unfold(fold(of_begin, query.shape[1]) @ begin_values, query.shape) + of_own @ values
