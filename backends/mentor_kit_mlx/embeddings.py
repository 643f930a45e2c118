"""Tied embeddings: an output projection of its own for a model on whose embeddings or projection an adapter is."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.config import Config
from mentor_kit_mlx.lm_wrapper import text_model

PROJECTION = "lm_head"


def is_tied(model: Any) -> bool:
    """Whether the embeddings of a model, or of the one of text inside of it, are its output projection too."""
    text = text_model(model)
    return PROJECTION not in text and "model" in text and "embed_tokens" in text.model


def tied_embeddings(model: Any) -> Any:
    """The embeddings of a tied model."""
    return text_model(model).model.embed_tokens


def projection_name(model: Any) -> str:
    """The full name that a tied model's output projection has once it is one of its own."""
    text = text_model(model)
    place = next(name for name, module in model.named_modules() if module is text)
    return f"{place}.{PROJECTION}" if place else PROJECTION


def untie(model: Any) -> None:
    """Give a model an output projection of its own that shares the arrays of its embeddings.

    An adapter can then be on one of the two alone, as in peft. `check_untied` finds whether mlx-lm uses it.
    """
    text, embeddings = text_model(model), tied_embeddings(model)
    if isinstance(embeddings, nn.QuantizedEmbedding):
        how = {"group_size": embeddings.group_size, "bits": embeddings.bits, "mode": embeddings.mode}
        projection = nn.QuantizedLinear(embeddings.dims, embeddings.num_embeddings, bias=False, **how)
    else:
        projection = nn.Linear(*reversed(embeddings.weight.shape), bias=False)
    # its initial weights are never computed
    projection.update(embeddings.parameters())
    projection.freeze()
    projection.eval()
    text[PROJECTION] = projection
    holders: list[Any] = [text, getattr(text, "args", None)]
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
    text = text_model(model)
    kept = text[PROJECTION]
    same = bool(mx.allclose(model(ids), before, atol=1e-3, rtol=1e-3))
    try:
        text[PROJECTION] = _nothing
        taken = not bool(mx.any(model(ids)))
    finally:
        text[PROJECTION] = kept
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
