"""Log-probabilities of completions, with gradients, and the loss over them.

Prefixes that completions share are run once, and gradients are those of unshared sequences (`Sharing`). Logits are
computed at trained positions only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.self_check import trial_groups
from mentor_kit.rl.losses.loss import LossBatch
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms, policy_loss
from mentor_kit_torch.chunked_logprobs import LARGEST_LOGITS, TokenLogProbs
from mentor_kit_torch.fused_llama import FusedLlama
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.self_check import agree
from mentor_kit_torch.shared_prompts import shared_hidden
from mentor_kit_torch.tree import Tree
from mentor_kit_torch.update_inputs import PromptRows, Sharing, UpdateInputs, WholeRows

logger = logging.getLogger("mentor_kit_torch")


def completion_log_probs(
    lm: TorchLMWrapper, batch: MicroBatch, sharing: Sharing, *, by_flex: bool | None = None
) -> Tensor:
    """(N, T) log-probabilities of the completions' trained tokens, at their temperatures; 0 elsewhere.

    Trees are done by FlexAttention where that is in use, or as `by_flex` says.
    """
    reaches = lm.flex_reaches if by_flex is None else lm.masks.reaches if by_flex else ()
    return log_probs_of(lm, UpdateInputs.of(batch, sharing, lm.device, reaches))


def log_probs_of(lm: TorchLMWrapper, inputs: UpdateInputs) -> Tensor:
    """As `completion_log_probs`."""
    return _completion_values(lm, inputs, with_entropy=False)[0]


def batch_loss(lm: TorchLMWrapper, inputs: UpdateInputs, objective: Objective, reference: Tensor | None) -> LossTerms:
    """The loss of a micro-batch, with gradients."""
    log_probs, entropy = _completion_values(lm, inputs, with_entropy=objective.spec.needs_entropy)
    whole = LossBatch(log_probs=log_probs, reference=reference, entropy=entropy, **inputs.loss)
    return policy_loss(torch, objective, whole)


def read_terms(found: Sequence[LossTerms]) -> list[LossTerms]:
    """The terms of micro-batches as numbers, for which the device is waited for once."""
    held = [[terms.loss, *terms.sums.values(), *terms.maxima.values()] for terms in found]
    flat = [value.detach().float() for values in held for value in values]
    numbers = iter(torch.stack(flat).cpu().tolist() if flat else [])
    return [
        LossTerms(next(numbers), *({name: next(numbers) for name in part} for part in (terms.sums, terms.maxima)))
        for terms in found
    ]


def _completion_values(lm: TorchLMWrapper, inputs: UpdateInputs, *, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
    """(N, T) log-probabilities of the trained tokens, and entropies of their distributions; 0 elsewhere."""
    found: tuple[Tensor, Tensor | None] = lm.within(_values, lm, inputs, with_entropy)
    return found


def _values(lm: TorchLMWrapper, inputs: UpdateInputs, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
    # index_select, as its gradient is summed in a fixed order; that of plain indexing is not
    hidden = _hidden(lm, inputs.rows).index_select(0, inputs.predicting)
    log_probs, entropy = _token_values(lm, hidden, inputs.targets, inputs.temperature, with_entropy)
    return inputs.of_completions(log_probs), inputs.of_completions(entropy) if with_entropy else None


def _hidden(lm: TorchLMWrapper, rows: Tree | PromptRows | WholeRows) -> Tensor:
    """Hidden states (tokens, width) of the rows, one after the other."""
    if isinstance(rows, Tree):
        return lm.packed(rows)
    hidden = shared_hidden(lm, rows) if isinstance(rows, PromptRows) else _whole_hidden(lm, rows)
    return hidden.flatten(0, 1)


def _whole_hidden(lm: TorchLMWrapper, rows: WholeRows) -> Tensor:
    """As `shared_hidden`, with each row behind a prompt of its own."""
    # padding stands behind each sequence, where a causal model never looks
    positions = torch.arange(rows.ids.shape[1], device=lm.device).expand(rows.ids.shape)
    hidden = lm.hidden(rows.ids, positions)
    return hidden.gather(1, rows.before.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


@dataclass(frozen=True)
class Shares:
    """The ways of sharing that a model allows."""

    sharing: Sharing = "none"
    """In updates."""
    parts: bool = False
    """Whether its layers can attend in parts, also in sampling."""


@torch.no_grad()
def how_to_share(lm: TorchLMWrapper, keeps: bool, *, recompute: bool = False) -> Shares:
    """The ways of sharing that a model allows, found by trials. Sets `lm.fused` where that gives the same.

    Args:
        lm: the model.
        keeps: whether its keys and values can be kept (`mentor_kit_torch.row_trial`).
        recompute: recompute layers in the backward pass (`mentor_kit_torch.fused_llama`).
    """
    if not keeps:
        return Shares()
    (batch,) = micro_batches(trial_groups(lm.vocabulary), 1 << 20)
    expected = completion_log_probs(lm, batch, "none")
    parts = lm.masks.full and _gives(lm, batch, "tree", expected, by_flex=False)
    flex = bool(lm.flex_reaches)
    by_flex = flex and lm.masks.packs and _gives(lm, batch, "tree", expected, by_flex=True)
    if flex and not by_flex:
        lm.attention = replace(lm.attention, flex=frozenset())
        logger.info("%s: trees of its updates are not done by FlexAttention", lm.config.model_type)
    if not parts and not by_flex:
        return Shares("prompts" if _gives(lm, batch, "prompts", expected) else "none")
    if FusedLlama.fits(lm.decoder):
        lm.fused = FusedLlama(lm.decoder, recompute=recompute)
        if not _gives(lm, batch, "tree", expected):
            lm.fused = None
    return Shares("tree", parts)


def _gives(
    lm: TorchLMWrapper, batch: MicroBatch, sharing: Sharing, expected: Tensor, *, by_flex: bool | None = None
) -> bool:
    """Whether a model runs with this way of sharing, and gives the expected log-probabilities."""
    try:
        return agree(lm, completion_log_probs(lm, batch, sharing, by_flex=by_flex), expected)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return False


def _token_values(
    lm: TorchLMWrapper, hidden: Tensor, targets: Tensor, temperature: Tensor | None, with_entropy: bool
) -> tuple[Tensor, Tensor]:
    """(M,) log-probabilities of targets (M,) from hidden states (M, width), and entropies (M,); empty if not asked for.

    In chunks where logits would be large.
    """
    if (weight := lm.weight) is not None:
        lm.projected(len(targets))
        how = (with_entropy, lm.logits_halvings)
        found: tuple[Tensor, Tensor] = TokenLogProbs.apply(hidden, weight, targets, temperature, *how)  # type: ignore[no-untyped-call]
        return found
    rows = max(1, LARGEST_LOGITS // lm.vocabulary)
    if len(targets) <= rows:
        return _gathered(lm, hidden, targets, temperature, with_entropy)
    parts = zip(*(_split(values, rows, len(targets)) for values in (hidden, targets, temperature)), strict=True)
    pieces = [checkpoint(_gathered, lm, *part, with_entropy, use_reentrant=False) for part in parts]
    log_probs, entropy = (torch.cat(values) for values in zip(*pieces, strict=True))
    return log_probs, entropy


def _gathered(
    lm: TorchLMWrapper, hidden: Tensor, targets: Tensor, temperature: Tensor | None, with_entropy: bool
) -> tuple[Tensor, Tensor]:
    logits = lm.logits(hidden).float()
    if temperature is not None:
        logits = logits / temperature.unsqueeze(-1)
    log_probs = torch.log_softmax(logits, dim=-1)
    chosen = log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return chosen, -(log_probs.exp() * log_probs).sum(dim=-1) if with_entropy else chosen.new_empty(0)


def _split(values: Tensor | None, rows: int, count: int) -> Sequence[Tensor | None]:
    """Values (count,) in parts of so many rows."""
    return [None] * -(-count // rows) if values is None else torch.split(values, rows)
