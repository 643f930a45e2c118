"""Log-probabilities of completions, with gradients, and the loss over them.

A prompt that several completions share is run once: what the layers keep of it is expanded over them, and gradients
flow back through the expansion, which is exact. Logits are computed at trained positions only. Recomputed layers keep
these gradients (`mentor_kit_mlx.gradient_checkpointing`).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit.backend.microbatching import MicroBatch
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms, policy_loss
from mentor_kit_mlx.cache import View, from_the_start, held, prompt_caches, renewed
from mentor_kit_mlx.cache import put as put_state
from mentor_kit_mlx.chunked_logprobs import token_values
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.params import Arrays, put, trained


def completion_log_probs(lm: MLXLMWrapper, batch: MicroBatch, *, share: bool) -> mx.array:
    """(N, T) log-probabilities of the completions' trained tokens, at their temperatures; 0 elsewhere."""
    return _completion_values(lm, batch, share=share, with_entropy=False)[0]


def _completion_values(
    lm: MLXLMWrapper, batch: MicroBatch, *, share: bool, with_entropy: bool
) -> tuple[mx.array, mx.array | None]:
    """(N, T) log-probabilities of the trained tokens, and entropies of their distributions; 0 elsewhere."""
    hidden = _shared_hidden(lm, batch) if share and batch.shares_prompts else _whole_hidden(lm, batch)
    places = np.flatnonzero(batch.trained)
    targets = mx.array(batch.ids.reshape(-1)[places])
    temperature = mx.array(np.broadcast_to(batch.temperature[:, None], batch.ids.shape).reshape(-1)[places])
    chosen = hidden.reshape(-1, hidden.shape[-1])[mx.array(places)]
    log_probs, *entropy = token_values(lm, chosen, targets, temperature, with_entropy)
    # every position is filled from one value, or from the zero behind them
    source = np.full(batch.trained.size, len(places))
    source[places] = np.arange(len(places))

    def of_completions(values: mx.array) -> mx.array:
        rows = mx.concatenate([values, mx.zeros(1)])[mx.array(source)].reshape(batch.trained.shape)
        return _of_completions(rows, batch.row_of)

    return of_completions(log_probs), of_completions(entropy[0]) if entropy else None


def _of_completions(rows: mx.array, row_of: np.ndarray[Any, Any]) -> mx.array:
    """(N, T): of each completion, its row of (D, T)."""
    if len(rows) == len(row_of):
        return rows
    # first by row, then in their own order, so that `_expand` sums the gradient in a fixed order
    order = np.argsort(row_of, kind="stable")
    return _expand(rows, np.bincount(row_of).tolist())[mx.array(np.argsort(order))]


def loss_and_gradients(
    lm: MLXLMWrapper, batch: MicroBatch, objective: Objective, reference: mx.array | None, *, share: bool
) -> tuple[LossTerms, Arrays]:
    """The loss of a micro-batch, and its gradient in every trainable parameter."""
    model = lm.model
    names: list[str] = []

    def loss(parameters: Arrays) -> tuple[mx.array, ...]:
        put(model, parameters)
        terms = batch_loss(lm, batch, objective, reference, share=share)
        names[:] = [*terms.sums, "|", *terms.maxima]
        return (terms.loss, *terms.sums.values(), *terms.maxima.values())

    own = trained(model)
    try:
        # by name, so that every trained parameter is differentiated, whichever module it is in
        found, gradients = mx.value_and_grad(loss)(own)
    finally:
        put(model, own)
    mx.eval(found, gradients)
    split = names.index("|")
    sums = dict(zip(names[:split], found[1 : split + 1], strict=True))
    maxima = dict(zip(names[split + 1 :], found[split + 1 :], strict=True))
    return LossTerms(found[0], sums, maxima), gradients


def batch_loss(
    lm: MLXLMWrapper, batch: MicroBatch, objective: Objective, reference: mx.array | None, *, share: bool
) -> LossTerms:
    """The loss of a micro-batch."""
    log_probs, entropy = _completion_values(lm, batch, share=share, with_entropy=objective.spec.needs_entropy)
    return policy_loss(mx, objective, batch.loss_batch(log_probs, reference, mx.array, entropy))


def _shared_hidden(lm: MLXLMWrapper, batch: MicroBatch) -> mx.array:
    """(D, T, width): the hidden state that predicts each row's tokens, each prompt run once."""
    prompts, lengths = batch.prompt_ids, batch.prompt_lengths
    counts = np.bincount(batch.prompt_of, minlength=len(lengths)).tolist()
    # padding stands behind each prompt, where a causal mask never looks; below it is masked out
    layers = prompt_caches(lm.model, from_the_start(*prompts.shape), lengths)
    hidden = lm.hidden(mx.array(prompts), layers)
    last = hidden[mx.arange(len(lengths)), mx.array(lengths - 1)]
    last = _expand(last, counts)[:, None]
    ids = batch.ids[:, :-1]
    if ids.shape[1] == 0:
        return last
    behind = _behind_prompts(lengths[batch.prompt_of], prompts.shape[1], ids.shape[1])
    expanded = [renewed(cache, behind) for cache in layers]
    for cache, prompt in zip(expanded, layers, strict=True):
        put_state(cache, [None if part is None else _expand(part, counts) for part in held(prompt)])
    return mx.concatenate([last, lm.hidden(mx.array(ids), expanded)], axis=1)


def _expand(values: mx.array, counts: list[int]) -> mx.array:
    """(P, …) to (N, …), each of P repeated `counts` times, N in all; its gradient is summed in a fixed order."""
    parts = [
        mx.broadcast_to(values[index : index + 1], (count, *values.shape[1:])) for index, count in enumerate(counts)
    ]
    return mx.concatenate(parts)


def _behind_prompts(lengths: np.ndarray[Any, Any], prompt: int, width: int) -> View:
    """Each row attends to its prompt without the padding, and to itself up to each position."""
    start = mx.array(lengths.astype(np.int32))
    own = start[:, None] + mx.arange(width)
    rows = len(lengths)
    before = mx.broadcast_to(mx.arange(prompt)[None], (rows, prompt))
    inside = mx.broadcast_to((before < start[:, None])[:, None, None], (rows, 1, width, prompt))
    causal = mx.broadcast_to(mx.tril(mx.ones((width, width))).astype(mx.bool_), (rows, 1, width, width))
    allowed = mx.concatenate([inside, causal], axis=-1)
    return View(start, own, mx.concatenate([before, own], axis=1), allowed)


def _whole_hidden(lm: MLXLMWrapper, batch: MicroBatch) -> mx.array:
    """As `_shared_hidden`, with each row behind a prompt of its own: for models whose state is not shared."""
    whole, before = batch.whole_sequences()
    # padding stands behind each sequence, where a causal model never looks
    hidden = lm.hidden(mx.array(whole))
    return mx.take_along_axis(hidden, mx.array(before)[:, :, None], axis=1)
