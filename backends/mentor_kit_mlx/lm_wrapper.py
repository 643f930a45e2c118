"""A language model in two halves: hidden states, and logits of the chosen ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mentor_kit_mlx.cache import from_the_start, own_caches, prompt_caches

logger = logging.getLogger("mentor_kit_mlx")

Parameters = dict[str, Any]
#: What models of mlx-lm call their decoder, the part below the logits.
_DECODERS = ("model", "backbone")


class MLXLMWrapper:
    """Runs a model of mlx-lm up to its hidden states, and its output projection on chosen ones.

    Models whose logits are more than a linear projection and known scalings are found by a comparison when they are
    loaded, and run whole. In models that take pictures too, the one inside that reads and writes text is run.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.logits_halvings = 0
        """How often the number of logits in a chunk of an update is halved."""
        text = text_model(model)
        self._has_head_inside = not any(name in text for name in _DECODERS)
        self.decoder: Any = text if self._has_head_inside else next(text[name] for name in _DECODERS if name in text)
        self.projection: Any = text.lm_head if "lm_head" in text else self._embeddings()
        args = getattr(text, "args", getattr(text, "config", None))
        self._softcap = getattr(args, "final_logit_softcapping", None)
        self._divisor = getattr(args, "logits_scaling", None)
        self._factor = getattr(args, "logit_scale", None)
        self._shares_keys = len(own_caches(model)) < len(model.layers)
        """Whether a layer may attend to the keys and values of another, which it gets from that layer's cache."""
        whole = model(mx.array([[0, 0]]))
        self.vocabulary = int(whole.shape[-1])
        self.dtype: mx.Dtype = whole.dtype
        self.split = self.projection is not None and self._agrees()
        if not self.split:
            logger.warning("%s: its output projection is unknown: logits are computed at every position", kind(model))

    def hidden(self, ids: mx.array, cache: Sequence[Any] | None = None) -> mx.array:
        """Hidden states (n, T, width) of ids (n, T), or logits (n, T, V) of a model that runs whole.

        Args:
            ids: the tokens.
            cache: one object a layer, with the tokens' positions and what they attend to; None for sequences that
                start here.
        """
        if cache is None and self._shares_keys:
            cache = prompt_caches(self.model, from_the_start(*ids.shape), np.full(len(ids), ids.shape[1]))
        if not self.split:
            return self._run(self.model, ids, cache)
        with self._without_head():
            return self._run(self.decoder, ids, cache)

    @staticmethod
    def _run(model: Any, ids: mx.array, cache: Sequence[Any] | None) -> mx.array:
        found: mx.array = model(ids) if cache is None else model(ids, cache=list(cache))
        return found

    @contextmanager
    def _without_head(self) -> Iterator[None]:
        """Have a model that computes logits itself give the states that they are projected from."""
        if not self._has_head_inside:
            yield
            return
        table, cap = self.decoder.embed_tokens, self.decoder.final_logit_softcapping
        kind = type(table)
        table.__class__ = type(kind.__name__, (kind,), {"as_linear": lambda _, hidden: hidden})
        self.decoder.final_logit_softcapping = None
        try:
            yield
        finally:
            table.__class__ = kind
            self.decoder.final_logit_softcapping = cap

    def logits(self, hidden: mx.array) -> mx.array:
        """Logits (…, V) of hidden states from `hidden`."""
        return self._project(hidden) if self.split else hidden

    def trainable(self) -> Parameters:
        """The projection's own trainable parameters, as a tree; empty for a model that runs whole."""
        found: Parameters = self.projection.trainable_parameters() if self.split else {}
        return found

    @property
    def drops(self) -> bool:
        """Whether an adapter's dropout on the projection is active."""
        modules = self.projection.modules() if self.split else ()
        return any(isinstance(module, nn.Dropout) and module.training and module._p_1 < 1 for module in modules)

    def logits_with(self, parameters: Parameters, hidden: mx.array) -> mx.array:
        """As `logits`, with these parameters in the projection, for a function that is differentiated by them."""
        if parameters:
            self.projection.update(parameters)
        return self.logits(hidden)

    def _embeddings(self) -> Any:
        return next((self.decoder[name] for name in ("embed_tokens", "embeddings") if name in self.decoder), None)

    def _project(self, hidden: mx.array) -> mx.array:
        tied = hasattr(self.projection, "as_linear")
        logits: mx.array = self.projection.as_linear(hidden) if tied else self.projection(hidden)
        if self._divisor is not None:
            logits = logits / self._divisor
        if self._factor is not None:
            logits = logits * self._factor
        return logits if self._softcap is None else mx.tanh(logits / self._softcap) * self._softcap

    def _agrees(self) -> bool:
        ids = mx.arange(4)[None] % self.vocabulary
        whole = self.model(ids).astype(mx.float32)
        try:
            with self._without_head():
                hidden = self.decoder(ids)
            found = self._project(hidden).astype(mx.float32)
        except (ValueError, TypeError, AttributeError):
            return False
        return found.shape == whole.shape and np.allclose(np.array(found), np.array(whole), atol=1e-3, rtol=1e-3)


def text_model(model: Any) -> Any:
    """The model of text inside of one that takes pictures too, or the model itself."""
    inside = [holder.language_model for holder in (model, model.get("model", {})) if "language_model" in holder]
    return inside[0] if inside else model


def kind(model: Any) -> str:
    """The model's type, for messages."""
    return str(getattr(model, "model_type", type(model).__name__))
