"""Log-probabilities and entropies of tokens from hidden states, with the logits of a large micro-batch in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mentor_kit_torch.determinism import each_once
from mentor_kit_torch.wide_sums import add_product

#: Logits of more numbers than this are computed in chunks.
LARGEST_LOGITS = 1 << 25
#: How many numbers of logits are kept for the backward pass; others are recomputed.
KEPT_LOGITS = 1 << 26
#: On a GPU both are doubled so often: a chunk reads the weights, however small it is, and where they are trained reads
#: and writes their gradient.
GPU_DOUBLINGS = {"trained": 2, "frozen": 1}


class TokenLogProbs(torch.autograd.Function):
    """log p = log softmax(hidden @ weight.T / temperature) at the targets, and the entropies H of the distributions.

    Both have shape (M,), in float32; H is empty where it is not asked for. Logits that were not kept are computed again
    in the backward pass. They become their own gradient in place:

        d log p[target] / d logits = (onehot(target) - p) / temperature
        d H / d logits             = -p (log p + H) / temperature
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: Tensor | None,
        with_entropy: bool = False,
        halvings: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """From hidden states (M, width), weights (V, width), targets (M,) and temperatures (M,), None for 1.

        The numbers of logits at a time, and of those that are kept, are halved `halvings` times; doubled below 0.
        """
        found, totals, entropies, ctx.kept, ctx.halvings = [], [], [], [], halvings
        kept = kept_rows(len(targets), len(weight), halvings) if any(ctx.needs_input_grad) else 0
        for part in _parts(len(targets), len(weight), halvings):
            logits = _logits(hidden, weight, temperature, part)
            if part.stop <= kept:
                ctx.kept.append(logits)
            totals.append(torch.logsumexp(logits, dim=-1))
            found.append(logits.gather(-1, targets[part].unsqueeze(-1)).squeeze(-1) - totals[-1])
            if with_entropy:
                entropies.append(torch.special.entr(torch.exp(logits - totals[-1].unsqueeze(-1))).sum(dim=-1))
        entropy = torch.cat(entropies) if with_entropy else hidden.new_empty(0, dtype=torch.float32)
        ctx.save_for_backward(hidden, weight, targets, temperature, torch.cat(totals), entropy)
        return torch.cat(found), entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the hidden states and the weights, where they are needed."""
        hidden, weight, targets, temperature, totals, entropy = ctx.saved_tensors
        scaled, of_entropy = (
            grad.float() / temperature if len(grad) and temperature is not None else grad for grad in grads
        )
        hidden_grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for part in _parts(len(targets), len(weight), ctx.halvings):
            logits = ctx.kept.pop(0) if ctx.kept else _logits(hidden, weight, temperature, part)
            pulls = logits.sub_(totals[part].unsqueeze(-1))
            factors = scaled[part].unsqueeze(-1)
            if len(entropy):
                # a logit of minus infinity has probability 0, and no gradient
                surprise = pulls.clamp(min=torch.finfo(pulls.dtype).min) + entropy[part].unsqueeze(-1)
                factors = surprise.mul_(of_entropy[part].unsqueeze(-1)).add_(factors)
            pulls.exp_().mul_(-factors)
            with each_once(pulls):
                pulls.scatter_add_(-1, targets[part].unsqueeze(-1), scaled[part].unsqueeze(-1))
            pulls = pulls.to(weight.dtype)
            if hidden_grad is not None:
                hidden_grad[part] = pulls @ weight
            if weight_grad is not None:
                add_product(weight_grad, pulls.T, hidden[part])
        return hidden_grad, None if weight_grad is None else weight_grad.to(weight.dtype), None, None, None, None


def logits_bytes(halvings: int = 0) -> int:
    """Bytes that logits take in an update at most: those that are kept, and a chunk while its gradient is computed."""
    return 4 * _halved(KEPT_LOGITS + 4 * LARGEST_LOGITS, halvings)


def first_halvings(device: torch.device, *, trained: bool) -> int:
    """The halvings where memory is not short: below 0 on a GPU, and further where the weights are `trained`."""
    return -GPU_DOUBLINGS["trained" if trained else "frozen"] if device.type == "cuda" else 0


def kept_rows(rows: int, vocabulary: int, halvings: int = 0) -> int:
    """The number of rows of logits, of so many, that are kept for the backward pass."""
    most, step = _halved(KEPT_LOGITS, halvings) // vocabulary, _rows_at_once(vocabulary, halvings)
    return rows if rows <= most else most // step * step


def _parts(rows: int, vocabulary: int, halvings: int) -> Iterator[slice]:
    step = _rows_at_once(vocabulary, halvings)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _rows_at_once(vocabulary: int, halvings: int) -> int:
    return max(1, _halved(LARGEST_LOGITS, halvings) // vocabulary)


def _halved(count: int, times: int) -> int:
    return count >> times if times >= 0 else count << -times


def _logits(hidden: Tensor, weight: Tensor, temperature: Tensor | None, part: slice) -> Tensor:
    """Logits in float32 of a part of the rows, at their temperatures."""
    logits = (hidden[part] @ weight.T).float()
    return logits if temperature is None else logits.div_(temperature[part].unsqueeze(-1))
