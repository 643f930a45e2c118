"""From logits to tokens, without a Python loop over rows: temperature, top-k, top-p, inverse CDF."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """How each of n rows is drawn; every tensor has shape (n,)."""

    temperature: Tensor
    """Float; 0 is greedy."""
    top_p: Tensor
    """Float."""
    top_k: Tensor
    """Int; 0 keeps all."""
    uniform: Tensor
    """Float64 in [0, 1)."""


#: Ids whose probabilities are summed up at once, before those of a block are looked at one by one.
BLOCK = 256


def scaled_log_probs(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Log-probabilities in float32 of logits (…, V) at a temperature; 0 counts as 1."""
    if isinstance(temperature, Tensor):
        safe: Tensor | float = torch.where(temperature > 0, temperature, torch.ones_like(temperature)).unsqueeze(-1)
    else:
        safe = temperature or 1.0
    return torch.log_softmax(logits.float() / safe, dim=-1)


def draw(logits: Tensor, how: Draw, *, filtered: bool, greedy: bool) -> tuple[Tensor, Tensor]:
    """Tokens (n,) and their log-probabilities (n,) under the full scaled distribution, from logits (n, V).

    The token is the first in the order of ids at which the cumulative probability exceeds the uniform number.
    `filtered` says whether any row has top-p below 1 or a top-k, `greedy` whether any has temperature 0.
    """
    log_probs = scaled_log_probs(logits, how.temperature)
    probabilities = _filter(log_probs.double().exp(), how) if filtered else log_probs.exp()
    tokens = _at(probabilities, how.uniform)
    if greedy:
        tokens = torch.where(how.temperature > 0, tokens, logits.argmax(dim=-1))
    return tokens, log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def _at(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """(n,): the first ids at which sums of probabilities (n, V) exceed uniform numbers (n,) of their totals.

    Sums are in float64: of blocks first, then of the ids of the block that is met.
    """
    missing = -probabilities.shape[-1] % BLOCK
    blocks = torch.nn.functional.pad(probabilities, (0, missing)).reshape(len(probabilities), -1, BLOCK)
    sums = blocks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    wanted = uniform.unsqueeze(-1) * sums[:, -1:]
    block = _first_above(sums, wanted)
    before = torch.where(block > 0, sums.gather(-1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block.unsqueeze(-1).expand(-1, -1, BLOCK)).squeeze(1).double().cumsum(dim=-1)
    return (block * BLOCK + _first_above(inside, wanted - before)).squeeze(-1)


def _first_above(sums: Tensor, wanted: Tensor) -> Tensor:
    """(n, 1): the first place at which growing sums (n, m) exceed wanted ones (n, 1).

    Where rounding put the wanted sum up to the last one, it is the first place that reaches it.
    """
    last = sums[:, -1:]
    below = torch.minimum(wanted, torch.nextafter(last, torch.zeros_like(last)))
    return torch.searchsorted(sums, below, right=True)


def _filter(probabilities: Tensor, how: Draw) -> Tensor:
    """Probabilities with zeros outside the top k, and outside the smallest set that holds top-p of them."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(ordered.shape[-1], device=ordered.device)
    top_k = torch.where(how.top_k > 0, how.top_k, ordered.shape[-1]).unsqueeze(-1)
    ordered = torch.where(rank < top_k, ordered, 0.0)
    before = ordered.cumsum(dim=-1) - ordered
    keep = before < how.top_p.double().unsqueeze(-1) * ordered.sum(dim=-1, keepdim=True)
    keep[:, 0] = True
    return torch.zeros_like(probabilities).scatter(-1, order, torch.where(keep, ordered, 0.0))
