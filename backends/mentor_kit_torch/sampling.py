"""From logits to tokens, without a Python loop over rows: temperature, top-k, top-p, inverse CDF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.row_device import Array, DrawSettings
from mentor_kit_torch.determinism import algorithms, each_once

#: Ids whose probabilities are summed up at once, before those of a block are looked at one by one.
BLOCK = 256


@dataclass(frozen=True)
class DrawTensors:
    """`DrawSettings` on the logits' device, each of shape (n,)."""

    temperature: Tensor
    """float32; 0 is greedy."""
    top_p: Tensor | None
    """None where nothing is filtered, and so is top_k."""
    top_k: Tensor | None
    scaled: bool
    """Whether any temperature is another than 0 and 1."""
    greedy: bool
    """Whether any is 0."""

    @classmethod
    def of(cls, settings: DrawSettings, device: torch.device) -> DrawTensors:
        """Copied to a device."""

        def tensor(values: Array) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        filtered = settings.filtered
        return cls(
            temperature=tensor(settings.temperature),
            top_p=tensor(settings.top_p) if filtered else None,
            top_k=tensor(settings.top_k) if filtered else None,
            scaled=is_scaled(settings),
            greedy=settings.greedy,
        )


def is_scaled(settings: DrawSettings) -> bool:
    """Whether any temperature is another than 0 and 1."""
    return not bool(((settings.temperature == 0) | (settings.temperature == 1)).all())


def draw(logits: Tensor, how: DrawTensors, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (n,) and their log-probabilities (n,) under the full scaled distribution, from logits (n, V).

    The token is the first in the order of ids at which the cumulative probability exceeds the uniform number (n,).
    """
    scaled = _in_blocks(_scaled(logits, how))
    highest = scaled.amax(dim=-1)
    top = highest.amax(dim=-1)
    weights = (scaled - top[:, None, None]).exp_()
    sums = weights.sum(dim=-1).double()
    total = sums.sum(dim=-1)
    if how.top_p is not None and how.top_k is not None:
        whole = weights.flatten(1)[:, : logits.shape[-1]].double() / total.unsqueeze(-1)
        weights = _in_blocks(_filter(whole, how.top_p, how.top_k), 0.0)
        sums = weights.sum(dim=-1)
    tokens = _at(weights, sums, uniform)
    if how.greedy:
        tokens = torch.where(how.temperature > 0, tokens, _likeliest(scaled, highest))
    chosen = scaled.flatten(1).gather(1, tokens.unsqueeze(-1)).squeeze(-1)
    return tokens, (chosen - top).double().sub_(total.log()).float()


def _scaled(logits: Tensor, how: DrawTensors) -> Tensor:
    """Logits (n, V) in float32, divided by temperatures (n,), of which 0 counts as 1."""
    logits = logits.float()
    if not how.scaled:
        return logits
    divisor = torch.where(how.temperature > 0, how.temperature, 1.0)
    return logits / divisor.unsqueeze(-1)


def _in_blocks(values: Tensor, missing: float = -torch.inf) -> Tensor:
    """Values (n, V) as (n, blocks, BLOCK), the last of them filled up."""
    lacks = -values.shape[-1] % BLOCK
    whole = torch.nn.functional.pad(values, (0, lacks), value=missing) if lacks else values
    return whole.view(len(values), -1, BLOCK)


def _likeliest(scaled: Tensor, highest: Tensor) -> Tensor:
    """(n,): the first ids of the greatest logits (n, blocks, BLOCK), by those of each block (n, blocks)."""
    block = highest.argmax(dim=-1, keepdim=True)
    inside = _block(scaled, block).argmax(dim=-1, keepdim=True)
    return (block * BLOCK + inside).squeeze(-1)


def _at(weights: Tensor, sums: Tensor, uniform: Tensor) -> Tensor:
    """(n,): the first ids at which growing sums of weights exceed uniform numbers (n,) of their totals.

    Sums are in float64: of blocks first, then of the ids of the block that is met.

    Args:
        weights: (n, blocks, BLOCK).
        sums: of each block, (n, blocks), in float64.
        uniform: from 0 to below 1, in float64.
    """
    grown = _growing(sums)
    wanted = uniform.unsqueeze(-1) * grown[:, -1:]
    block = _first_above(grown, wanted)
    before = torch.where(block > 0, grown.gather(-1, (block - 1).clamp(min=0)), 0.0)
    inside = _growing(_block(weights, block).double())
    return (block * BLOCK + _first_above(inside, wanted - before)).squeeze(-1)


def _growing(values: Tensor) -> Tensor:
    """(n, m): the growing sums of each row of values (n, m), which repeat to the bit.

    CUDA adds up rows beside others in a fixed order, which PyTorch does not know of. A row alone it may add up in any.
    """
    if values.device.type == "cpu":
        return values.cumsum(dim=-1)
    several = values if len(values) > 1 else values.expand(2, -1)
    with algorithms(deterministic=False):
        return several.cumsum(dim=-1)[: len(values)]


def _block(values: Tensor, block: Tensor) -> Tensor:
    """(n, BLOCK): a block (n, 1) of each row of values (n, blocks, BLOCK)."""
    return values.gather(1, block.unsqueeze(-1).expand(-1, -1, BLOCK)).squeeze(1)


def _first_above(sums: Tensor, wanted: Tensor) -> Tensor:
    """(n, 1): the first place at which growing sums (n, m) exceed wanted ones (n, 1).

    Where rounding put the wanted sum up to the last one, it is the first place that reaches it.
    """
    last = sums[:, -1:]
    below = torch.minimum(wanted, torch.nextafter(last, torch.zeros_like(last)))
    return torch.searchsorted(sums, below, right=True)


def _filter(probabilities: Tensor, top_p: Tensor, top_k: Tensor) -> Tensor:
    """Probabilities with zeros outside the top k, and outside the smallest set that holds top-p of them."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(ordered.shape[-1], device=ordered.device)
    kept = torch.where(top_k > 0, top_k, ordered.shape[-1]).unsqueeze(-1)
    ordered = torch.where(rank < kept, ordered, 0.0)
    before = _growing(ordered) - ordered
    keep = before < top_p.double().unsqueeze(-1) * ordered.sum(dim=-1, keepdim=True)
    keep[:, 0] = True
    with each_once(probabilities):
        return torch.zeros_like(probabilities).scatter(-1, order, torch.where(keep, ordered, 0.0))
