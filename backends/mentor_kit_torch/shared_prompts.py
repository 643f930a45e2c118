"""Completions behind prompts that are run once each: what the layers keep of a prompt is expanded over its completions.

Gradients flow back through it: keys and values are put together rather than written in place, and so is the state of
recurrences. As these know of no padding, prompts of different lengths are run one length after the other there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import Cache, DummyLayer, DynamicLayer

from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.recurrent_states import AssignedStates
from mentor_kit_torch.update_inputs import PromptRows


def shared_hidden(lm: TorchLMWrapper, rows: PromptRows) -> Tensor:
    """(D, T, width): the hidden state that predicts each row's tokens, each prompt run once."""
    device, prompts, of, ids = lm.device, rows.prompts, rows.prompt_of, rows.ids
    recurs = lm.masks.recurs
    last, cache = _by_length(lm, rows) if recurs else _together(lm, prompts, rows.lengths)
    # index_select, as its gradient is summed in a fixed order; that of plain indexing is not
    last = last.index_select(0, of).unsqueeze(1)
    count = ids.shape[1]
    if count == 0:
        return last
    if recurs and count == 1:
        # in a pass over one token transformers writes to the state that it is given
        ids = pad(ids, (0, 1))
    lengths = rows.lengths.index_select(0, of)
    places = torch.arange(prompts.shape[1], device=device).unsqueeze(0)
    own = lengths.unsqueeze(1) + torch.arange(ids.shape[1], device=device)
    allowed = _prompt_and_causal(lengths, prompts.shape[1], ids.shape[1])
    mask = lm.mask(allowed, own, torch.cat([places.expand(len(of), -1), own], dim=1))
    return torch.cat([last, lm.hidden(ids, own, mask=mask, cache=_expanded(cache, of))[:, :count]], dim=1)


def _together(lm: TorchLMWrapper, prompts: Tensor, lengths: Tensor) -> tuple[Tensor, Cache]:
    """The hidden state of each prompt's last token, (P, width), and what the layers keep of the prompts."""
    # padding stands behind each prompt, where a causal mask never looks; behind it is masked out
    cache = DynamicCache()
    places = torch.arange(prompts.shape[1], device=lm.device).unsqueeze(0)
    hidden = lm.hidden(prompts, places.expand(prompts.shape), cache=cache)
    return hidden[torch.arange(len(lengths), device=lm.device), lengths - 1], cache


def _by_length(lm: TorchLMWrapper, rows: PromptRows) -> tuple[Tensor, Cache]:
    """The same without padding: prompts of one length at a time."""
    lasts, caches = [], []
    for length, same in rows.by_length:
        cache = _fresh(lm)
        ids = rows.prompts.index_select(0, same)[:, :length]
        hidden = lm.hidden(ids, torch.arange(length, device=lm.device).expand(ids.shape), cache=cache)
        lasts.append(hidden[:, -1])
        caches.append(cache)
    joined = _joined(lm, caches, rows.prompts.shape[1])
    return torch.cat(lasts).index_select(0, rows.run_as), _expanded(joined, rows.run_as)


class _Both(AssignedStates, DynamicLayer):  # type: ignore[misc]
    """State of recurrences, and keys and values."""

    def __init__(self, count: int) -> None:
        DynamicLayer.__init__(self)
        AssignedStates.__init__(self, count)

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        DynamicLayer.lazy_initialization(self, *args, **kwargs)


def _fresh(lm: TorchLMWrapper) -> Cache:
    """A cache that holds nothing, and can be differentiated."""
    return Cache(layers=[_empty(layer) for layer in DynamicCache(config=lm.config).layers])


def _empty(layer: Any) -> Any:
    """A layer of the same kind that holds nothing."""
    count = getattr(layer, "number_of_states", 0)
    if not count:
        return DummyLayer() if isinstance(layer, DummyLayer) else DynamicLayer()
    return _Both(count) if isinstance(layer, DynamicLayer) else AssignedStates(count)


def _expanded(cache: Cache, rows: Tensor) -> Cache:
    """What the layers keep of sequences `rows` (n,), in this order."""
    found = []
    for layer in cache.layers:
        made = _empty(layer)
        if getattr(layer, "keys", None) is not None:
            made.update(layer.keys.index_select(0, rows), layer.values.index_select(0, rows))
        if isinstance(layer, AssignedStates):
            _assign(made, [(name, index, state.index_select(0, rows)) for name, index, state in layer.parts()])
        found.append(made)
    return Cache(layers=found)


def _joined(lm: TorchLMWrapper, caches: list[Cache], length: int) -> Cache:
    """What the layers keep of the sequences of several caches, keys and values padded behind them to `length`."""
    found = _fresh(lm)
    for made, *parts in zip(found.layers, *(cache.layers for cache in caches), strict=True):
        if getattr(parts[0], "keys", None) is not None:
            padded = [[_padded(layer.keys, length), _padded(layer.values, length)] for layer in parts]
            made.update(*(torch.cat(states) for states in zip(*padded, strict=True)))
        if isinstance(made, AssignedStates):
            several = zip(*(layer.parts() for layer in parts), strict=True)
            _assign(made, [(one[0][0], one[0][1], torch.cat([state for *_, state in one])) for one in several])
    return found


def _assign(layer: AssignedStates, parts: list[tuple[str, int, Tensor]]) -> None:
    for name, index, state in parts:
        getattr(layer, name)[index] = state
        layer.has_previous_state[index] = True


def _padded(states: Tensor, length: int) -> Tensor:
    """Keys or values (n, heads, L, D) with zeros behind them."""
    return pad(states, (0, 0, 0, length - states.shape[2]))


def _prompt_and_causal(lengths: Tensor, prompt: int, width: int) -> Tensor:
    """(D, 1, width, prompt + width): the prompt without its padding, and the completion up to each position."""
    inside = torch.arange(prompt, device=lengths.device) < lengths.unsqueeze(1)
    causal = torch.ones(width, width, dtype=torch.bool, device=lengths.device).tril()
    count = len(lengths)
    parts = [inside[:, None, None].expand(count, 1, width, prompt), causal.expand(count, 1, width, width)]
    return torch.cat(parts, dim=-1)
