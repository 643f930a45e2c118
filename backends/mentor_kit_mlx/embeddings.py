"""Embeddings and output projection: one matrix where they are tied, two where an adapter is on either of them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.config import Config

PROJECTION = "lm_head"


def is_tied(model: Any) -> bool:
    """Whether a model's logits come from its embeddings."""
    return PROJECTION not in model and "model" in model and "embed_tokens" in model.model


def untie(model: Any) -> None:
    """Give a model an output projection of its own, which has the weights of its embeddings and no memory besides.

    An adapter can then be on one of the two alone, as peft has it.

    Raises:
        BackendError: mlx-lm would go on taking the embeddings.
    """
    embeddings = model.model.embed_tokens
    if isinstance(embeddings, nn.QuantizedEmbedding):
        how = {"group_size": embeddings.group_size, "bits": embeddings.bits, "mode": embeddings.mode}
        projection = nn.QuantizedLinear(embeddings.dims, embeddings.num_embeddings, bias=False, **how)
    else:
        projection = nn.Linear(*reversed(embeddings.weight.shape), bias=False)
    # what they were made with is never computed
    projection.update(embeddings.parameters())
    projection.freeze()
    projection.eval()
    model[PROJECTION] = projection
    holders: list[Any] = [model, getattr(model, "args", None)]
    for holder in holders:
        if hasattr(holder, "tie_word_embeddings"):
            holder.tie_word_embeddings = False


def _nothing(hidden: mx.array) -> mx.array:
    """What an output projection of zeros gives, but for its width."""
    return mx.zeros_like(hidden)


def check_untied(model: Any, before: mx.array, ids: mx.array) -> None:
    """Refuse a model that does not take its new output projection, found out by trying it.

    Args:
        model: that was untied.
        before: its logits of the tokens `ids` as it was.
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
    """An adapter is on one of two ends that cannot be told apart."""
    return BackendError(
        f"student.adapter: mlx-lm has no output projection apart from the embeddings for {model.model_type!r}",
        hint="leave `lm_head` and `embed_tokens` out of the targets, or use `backend: torch`",
    )


def as_untied(config: Config) -> Config:
    """The configuration of a model that was untied."""
    found = config | {"tie_word_embeddings": False}
    if isinstance(text := config.get("text_config"), dict):
        found["text_config"] = text | {"tie_word_embeddings": False}
    return found
