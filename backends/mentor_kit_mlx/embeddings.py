"""Tied embeddings: an output projection of its own for a model on whose embeddings or projection an adapter is."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.config import Config

PROJECTION = "lm_head"


def is_tied(model: Any) -> bool:
    """Whether a model's embeddings are its output projection too."""
    return PROJECTION not in model and "model" in model and "embed_tokens" in model.model


def untie(model: Any) -> None:
    """Give a model an output projection of its own that shares the arrays of its embeddings.

    An adapter can then be on one of the two alone, as in peft. `check_untied` finds whether mlx-lm uses it.
    """
    embeddings = model.model.embed_tokens
    if isinstance(embeddings, nn.QuantizedEmbedding):
        how = {"group_size": embeddings.group_size, "bits": embeddings.bits, "mode": embeddings.mode}
        projection = nn.QuantizedLinear(embeddings.dims, embeddings.num_embeddings, bias=False, **how)
    else:
        projection = nn.Linear(*reversed(embeddings.weight.shape), bias=False)
    # its initial weights are never computed
    projection.update(embeddings.parameters())
    projection.freeze()
    projection.eval()
    model[PROJECTION] = projection
    holders: list[Any] = [model, getattr(model, "args", None)]
    for holder in holders:
        if hasattr(holder, "tie_word_embeddings"):
            holder.tie_word_embeddings = False


def _nothing(hidden: mx.array) -> mx.array:
    """Zeros, as an output projection of zeros would give up to their width."""
    return mx.zeros_like(hidden)


def check_untied(model: Any, before: mx.array, ids: mx.array) -> None:
    """Refuse a model that does not use its new output projection, found by a trial.

    Args:
        model: after `untie`.
        before: its logits of the tokens `ids` before.
        ids: (n, T).
    """
    kept = model[PROJECTION]
    same = bool(mx.allclose(model(ids), before, atol=1e-3, rtol=1e-3))
    try:
        model[PROJECTION] = _nothing
        taken = not bool(mx.any(model(ids)))
    finally:
        model[PROJECTION] = kept
    if not (same and taken):
        raise cannot_untie(model)


def cannot_untie(model: Any) -> BackendError:
    """The error for an adapter on embeddings that mlx-lm cannot untie."""
    return BackendError(
        f"student.adapter: mlx-lm has no output projection apart from the embeddings for {model.model_type!r}",
        hint="leave `lm_head` and `embed_tokens` out of the targets, or use `backend: torch`",
    )


def as_untied(config: Config) -> Config:
    """The configuration of an untied model."""
    found = config | {"tie_word_embeddings": False}
    if isinstance(text := config.get("text_config"), dict):
        found["text_config"] = text | {"tie_word_embeddings": False}
    return found
