"""A language model in two halves: hidden states, and logits of the chosen ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

logger = logging.getLogger("mentor_kit_mlx")

Parameters = dict[str, Any]


class MLXLMWrapper:
    """Runs a model of mlx-lm up to its hidden states, and its output projection on chosen ones.

    Models whose logits are more than a linear projection and known scalings are found by a comparison when they are
    loaded, and run whole.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.decoder: Any = model.model if "model" in model else None
        self.projection: Any = model.lm_head if "lm_head" in model else self._embeddings()
        args = getattr(model, "args", None)
        self._softcap = getattr(args, "final_logit_softcapping", None)
        self._divisor = getattr(args, "logits_scaling", None)
        self._factor = getattr(args, "logit_scale", None)
        whole = model(mx.array([[0, 0]]))
        self.vocabulary = int(whole.shape[-1])
        self.dtype: mx.Dtype = whole.dtype
        self.split = self.decoder is not None and self.projection is not None and self._agrees()
        if not self.split:
            logger.warning("%s: its output projection is unknown: logits are computed at every position", kind(model))

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.model.layers)

    def hidden(self, ids: mx.array, cache: Sequence[Any] | None = None) -> mx.array:
        """Hidden states (n, T, width) of ids (n, T), or logits (n, T, V) of a model that runs whole.

        Args:
            ids: the tokens.
            cache: one object a layer, with the tokens' positions and what they attend to; None for sequences that
                start here.
        """
        run = self.decoder if self.split else self.model
        found: mx.array = run(ids) if cache is None else run(ids, cache=list(cache))
        return found

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
        return self.decoder.embed_tokens if self.decoder is not None and "embed_tokens" in self.decoder else None

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
            found = self._project(self.decoder(ids)).astype(mx.float32)
        except (ValueError, TypeError, AttributeError):
            return False
        return found.shape == whole.shape and np.allclose(np.array(found), np.array(whole), atol=1e-3, rtol=1e-3)


def kind(model: Any) -> str:
    """The model's type, for messages."""
    return str(getattr(model, "model_type", type(model).__name__))
