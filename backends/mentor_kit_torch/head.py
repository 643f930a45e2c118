"""The model in two halves: hidden states, then the vocabulary's logits only where they are needed."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger("mentor_kit_torch")


class Head:
    """Runs a causal language model up to its hidden states, and its output projection on chosen ones.

    Models that do more to their logits than a linear projection and the scalings known here are found out by a
    comparison when they are loaded, and run whole.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.decoder: Any = inner.get_decoder() if hasattr(inner, "get_decoder") else None
        self.projection: Any = inner.get_output_embeddings()
        self.config = config = inner.config.get_text_config()
        self._attention = config._attn_implementation
        self.dtype: torch.dtype = next(model.parameters()).dtype
        self._softcap = getattr(config, "final_logit_softcapping", None)
        self._divisor = getattr(config, "logits_scaling", None)
        self._factor = getattr(config, "logit_scale", None)
        # transformers renames the argument in version 5.40
        takes = inspect.signature(inner.forward).parameters
        self._cache_name = "cache" if "cache" in takes else "past_key_values"
        self.split = self.decoder is not None and self.projection is not None and self._agrees()
        if not self.split:
            logger.warning("%s: logits are computed at every position: its head is not understood", config.model_type)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def vocabulary(self) -> int:
        """How many logits there are at a position."""
        return int(self.projection.weight.shape[0]) if self.projection is not None else 1

    def mask(self, allowed: Tensor) -> Tensor:
        """A mask of booleans as the model's attention takes it."""
        if self._attention != "eager":
            return allowed
        dtype = self.dtype
        return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(
            ~allowed, torch.finfo(dtype).min
        )

    def hidden(self, *, cache: Any = None, **inputs: Any) -> Tensor:
        """Hidden states (n, T, width), or logits (n, T, V) of a model that runs whole."""
        inputs |= {"use_cache": False} if cache is None else {self._cache_name: cache, "use_cache": True}
        if self.split:
            states: Tensor = self.decoder(**inputs).last_hidden_state
            return states
        logits: Tensor = self.model(**inputs).logits
        return logits

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (…, V) of what `hidden` gave."""
        return self._project(hidden) if self.split else hidden

    def _project(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.projection(hidden)
        if self._divisor is not None:
            logits = logits / self._divisor
        if self._factor is not None:
            logits = logits * self._factor
        return logits if self._softcap is None else torch.tanh(logits / self._softcap) * self._softcap

    @torch.no_grad()
    def _agrees(self) -> bool:
        device = next(self.model.parameters()).device
        ids = torch.arange(4, device=device).unsqueeze(0) % self.projection.weight.shape[0]
        whole = self.model(input_ids=ids, use_cache=False).logits.float()
        hidden = self.decoder(input_ids=ids, use_cache=False).last_hidden_state
        return torch.allclose(self._project(hidden).float(), whole, atol=1e-3, rtol=1e-3)
