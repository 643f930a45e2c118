"""Log-probabilities of completions, with gradients, and the loss over them.

Prefixes that completions share are run once, and gradients are those of unshared sequences (`Sharing`). Logits are
computed at trained positions only.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.self_check import trial_groups
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms, policy_loss
from mentor_kit_torch.chunked_logprobs import LARGEST_LOGITS, TokenLogProbs
from mentor_kit_torch.fused_llama import FusedLlama
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.self_check import agree
from mentor_kit_torch.shared_prompts import shared_hidden
from mentor_kit_torch.tree import Tree

#: tree: common prefixes of prompts, and of a prompt's completions, are run once and packed (`mentor_kit_torch.tree`);
#: prompts: each prompt is run once, and what its layers keep is expanded over its completions, for attention of other
#: kinds and for recurrences (`mentor_kit_torch.shared_prompts`);
#: none: whole sequences, for models whose state cannot be shared. Equal completions of a prompt share a row in each.
Sharing = Literal["tree", "prompts", "none"]


def completion_log_probs(lm: TorchLMWrapper, batch: MicroBatch, sharing: Sharing) -> Tensor:
    """(N, T) log-probabilities of the completions' trained tokens, at their temperatures; 0 elsewhere."""
    return _completion_values(lm, batch, sharing, with_entropy=False)[0]


def batch_loss(
    lm: TorchLMWrapper, batch: MicroBatch, objective: Objective, reference: Tensor | None, sharing: Sharing
) -> LossTerms:
    """The loss of a micro-batch, with gradients."""
    log_probs, entropy = _completion_values(lm, batch, sharing, with_entropy=objective.spec.needs_entropy)

    def tensor(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(lm.device)

    return policy_loss(torch, objective, batch.loss_batch(log_probs, reference, tensor, entropy))


def _completion_values(
    lm: TorchLMWrapper, batch: MicroBatch, sharing: Sharing, *, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """(N, T) log-probabilities of the trained tokens, and entropies of their distributions; 0 elsewhere."""
    found: tuple[Tensor, Tensor | None] = lm.within(_values_of_rows, lm, batch, sharing, with_entropy)
    return found


def _values_of_rows(
    lm: TorchLMWrapper, batch: MicroBatch, sharing: Sharing, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    device = lm.device
    trained, row_of = torch.from_numpy(batch.trained).to(device), torch.from_numpy(batch.row_of).to(device)
    if sharing == "tree":
        found = _tree_values(lm, batch, with_entropy)
    else:
        shared = sharing == "prompts" and batch.shares_prompts
        hidden = shared_hidden(lm, batch) if shared else _whole_hidden(lm, batch)
        targets = torch.from_numpy(batch.ids).to(device)[trained]
        temperature = torch.from_numpy(batch.temperature).to(device).unsqueeze(1).expand(trained.shape)[trained]
        found = _token_values(lm, hidden[trained], targets, temperature, with_entropy)

    def of_completions(values: Tensor) -> Tensor:
        rows = torch.zeros(trained.shape, dtype=torch.float32, device=device).masked_scatter(trained, values)
        # index_select, as its gradient is summed in a fixed order; that of plain indexing is not
        return rows.index_select(0, row_of)

    log_probs, entropy = found
    return of_completions(log_probs), of_completions(entropy) if with_entropy else None


def _tree_values(lm: TorchLMWrapper, batch: MicroBatch, with_entropy: bool) -> tuple[Tensor, Tensor]:
    """Of the rows' trained tokens; where rows share a token and all tokens before it, it is computed once."""
    tree = Tree.of(batch, lm.device)
    # index_select as above
    hidden = lm.packed(tree).index_select(0, tree.predicting)
    log_probs, entropy = _token_values(lm, hidden, tree.targets, tree.temperature, with_entropy)
    return log_probs.index_select(0, tree.target_of), entropy.index_select(
        0, tree.target_of
    ) if with_entropy else entropy


def _whole_hidden(lm: TorchLMWrapper, batch: MicroBatch) -> Tensor:
    """As `shared_hidden`, with each row behind a prompt of its own."""
    whole, before = (torch.from_numpy(values).to(lm.device) for values in batch.whole_sequences())
    # padding stands behind each sequence, where a causal model never looks
    hidden = lm.hidden(whole, torch.arange(whole.shape[1], device=lm.device).expand(whole.shape))
    return hidden.gather(1, before.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


@torch.no_grad()
def how_to_share(lm: TorchLMWrapper, keeps: bool, *, recompute: bool = False) -> Sharing:
    """The way of sharing that a model allows, found by a trial. Sets `lm.fused` where that gives the same.

    Args:
        lm: the model.
        keeps: whether its keys and values can be kept (`mentor_kit_torch.row_trial`).
        recompute: recompute layers in the backward pass (`mentor_kit_torch.fused_llama`).
    """
    if not keeps:
        return "none"
    (batch,) = micro_batches(trial_groups(lm.vocabulary), 1 << 20)
    expected = completion_log_probs(lm, batch, "none")
    if not lm.masks.full or not _gives(lm, batch, "tree", expected):
        return "prompts" if _gives(lm, batch, "prompts", expected) else "none"
    if FusedLlama.fits(lm.decoder):
        lm.fused = FusedLlama(lm.decoder, recompute=recompute)
        if not _gives(lm, batch, "tree", expected):
            lm.fused = None
    return "tree"


def _gives(lm: TorchLMWrapper, batch: MicroBatch, sharing: Sharing, expected: Tensor) -> bool:
    """Whether a model runs with this way of sharing, and gives the expected log-probabilities."""
    try:
        return agree(lm, completion_log_probs(lm, batch, sharing), expected)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return False


def _token_values(
    lm: TorchLMWrapper, hidden: Tensor, targets: Tensor, temperature: Tensor, with_entropy: bool
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
    parts = zip(*(torch.split(values, rows) for values in (hidden, targets, temperature)), strict=True)
    pieces = [checkpoint(_gathered, lm, *part, with_entropy, use_reentrant=False) for part in parts]
    log_probs, entropy = (torch.cat(values) for values in zip(*pieces, strict=True))
    return log_probs, entropy


def _gathered(
    lm: TorchLMWrapper, hidden: Tensor, targets: Tensor, temperature: Tensor, with_entropy: bool
) -> tuple[Tensor, Tensor]:
    logits = lm.logits(hidden).float() / temperature.unsqueeze(-1)
    log_probs = torch.log_softmax(logits, dim=-1)
    chosen = log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return chosen, -(log_probs.exp() * log_probs).sum(dim=-1) if with_entropy else chosen.new_empty(0)
