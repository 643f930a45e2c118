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


def scaled_log_probs(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Log-probabilities in float32 of logits (…, V) at a temperature; 0 counts as 1."""
    if isinstance(temperature, Tensor):
        safe: Tensor | float = torch.where(temperature > 0, temperature, torch.ones_like(temperature)).unsqueeze(-1)
    else:
        safe = temperature or 1.0
    return torch.log_softmax(logits.float() / safe, dim=-1)


def draw(logits: Tensor, how: Draw, *, filtered: bool) -> tuple[Tensor, Tensor]:
    """Tokens (n,) and their log-probabilities (n,) under the full scaled distribution, from logits (n, V).

    The token is the first in the order of ids at which the cumulative probability exceeds the uniform number.
    `filtered` says whether any row has top-p below 1 or a top-k.
    """
    log_probs = scaled_log_probs(logits, how.temperature)
    probabilities = log_probs.double().exp()
    if filtered:
        probabilities = _filter(probabilities, how)
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1:]
    # a product rounded up to the total would name a token behind the last possible one
    threshold = torch.minimum(how.uniform.unsqueeze(-1) * total, torch.nextafter(total, torch.zeros_like(total)))
    sampled = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
    greedy = logits.argmax(dim=-1)
    tokens = torch.where(how.temperature > 0, sampled, greedy)
    return tokens, log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


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
