"""A language model in two halves: hidden states, and logits of the chosen ones."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mentor_kit_torch import kernels
from mentor_kit_torch.attention import AttentionMasks, Reach
from mentor_kit_torch.attention_backend import AttentionPlan, attending
from mentor_kit_torch.attention_trial import AttentionWays
from mentor_kit_torch.chunked_logprobs import kept_rows
from mentor_kit_torch.cpu_weight_layout import few_rows
from mentor_kit_torch.flops_counter import FlopsCounter
from mentor_kit_torch.fused_llama import FusedLlama
from mentor_kit_torch.tree import Tree, TreePlan

logger = logging.getLogger("mentor_kit_torch")


class TorchLMWrapper:
    """Runs a causal language model up to its hidden states, and its output projection on chosen ones.

    Models whose logits are more than a linear projection and known scalings are found by a comparison when they are
    loaded, and run whole.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.logits_halvings = 0
        """How often the number of logits in a chunk of an update is halved."""
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.decoder: Any = _decoder(inner)
        self.projection: Any = inner.get_output_embeddings()
        self.config = config = inner.config.get_text_config()
        self.masks = AttentionMasks(config)
        first = next(model.parameters())
        self.dtype: torch.dtype = first.dtype
        self._device: torch.device = first.device
        self._softcap = getattr(config, "final_logit_softcapping", None)
        self._divisor = getattr(config, "logits_scaling", None)
        self._factor = getattr(config, "logit_scale", None)
        takes = inspect.signature(inner.forward).parameters
        self._cache_name = cache_argument(inner)
        self.longest_context = _longest_context(config)
        self._takes_positions = "position_ids" in takes
        self.meter = FlopsCounter(model, config, self.vocabulary)
        self.split = self.decoder is not None and self.projection is not None and self._agrees()
        self.attention = AttentionWays()
        """The kernels that attention under a plan is done by."""
        self.fused: FusedLlama | None = None
        self.within: Callable[..., Any] = _call
        """Calls a function that uses the model's weights, with its arguments; sharded ones are gathered for it."""
        if not self.split:
            logger.warning("%s: unknown output projection: logits are computed at every position", config.model_type)

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self._device

    @property
    def vocabulary(self) -> int:
        """The number of logits at a position."""
        return int(self.config.vocab_size) if self.projection is None else int(self.projection.weight.shape[0])

    @property
    def flex_reaches(self) -> tuple[Reach, ...]:
        """Those of the layers where FlexAttention does trees; else none."""
        return self.masks.reaches if self.dtype in self.attention.flex else ()

    def mask(self, allowed: Tensor, queries: Tensor, keys: Tensor) -> Any:
        """A mask as the model takes it; see `AttentionMasks.build`."""
        return self.masks.build(allowed, queries, keys, self.dtype)

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor,
        *,
        mask: Any = None,
        cache: Any = None,
        plan: AttentionPlan | None = None,
        pairs: int | None = None,
        keys: int | None = None,
    ) -> Tensor:
        """Hidden states (n, T, width), or logits (n, T, V) of a model that runs whole.

        Args:
            ids: (n, T).
            positions: (n, T); those of padding may lie beyond the longest context.
            mask: from `mask`; None for a causal one over `ids`.
            cache: of transformers; None keeps no keys and values.
            plan: how tokens attend, in place of the model's own attention.
            pairs: of a query and a key, for the counter; left out, each row attends to itself.
            keys: that are read from the cache, for the counter; left out, each row reads its own.
        """
        pairs = ids.numel() * ids.shape[1] if pairs is None else pairs
        if keys is None:
            keys = 0 if cache is None else pairs // max(ids.shape[1], 1)
        self.meter.ran(ids.numel(), pairs=pairs, keys=keys)
        if plan is None:
            return self._run(ids, positions, mask, cache)
        with kernels.using(self.attention.of(self.dtype)):
            if self.fused is not None:
                return self.fused(ids, positions.clamp(max=self.longest_context - 1), plan, mask, cache)
            with attending(self.config, plan):
                return self._run(ids, positions, mask, cache)

    def packed(self, tree: Tree) -> Tensor:
        """Hidden states (M, width) of a tree's tokens, or logits of a model that runs whole."""
        plan = TreePlan(tree, self.attention.of(self.dtype), self.masks.reach)
        return self.hidden(tree.ids, tree.positions, plan=plan, pairs=tree.pairs)[0]

    def _run(self, ids: Tensor, positions: Tensor, mask: Any, cache: Any) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": cache is not None}
        if self._takes_positions:
            inputs["position_ids"] = positions.clamp(max=self.longest_context - 1)
        if cache is not None:
            inputs[self._cache_name] = cache
        if self.split:
            states: Tensor = self.decoder(**inputs).last_hidden_state
            # some decoders of 16 bits add up in float32 (Mamba)
            return states.to(self.dtype)
        logits: Tensor = self.model(**inputs).logits
        return logits

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (…, V) of hidden states from `hidden`."""
        self.meter.projected(hidden.shape[:-1].numel())
        return self._project(hidden) if self.split else hidden

    def projected(self, positions: int) -> None:
        """Count logits of so many positions that are computed elsewhere from `weight`, also in a backward pass."""
        self.meter.projected(positions)
        if torch.is_grad_enabled():
            with torch.no_grad():
                self.meter.projected(positions - kept_rows(positions, self.vocabulary, self.logits_halvings))

    @property
    def weight(self) -> Tensor | None:
        """The output projection's weights (V, width) where logits are the plain product with them, else None."""
        extras = (self._divisor, self._factor, self._softcap)
        return self.projection.weight if self.split and self._plain and extras == (None, None, None) else None

    @property
    def _plain(self) -> bool:
        """Whether logits are products with the projection's weights, up to scalings."""
        return type(self.projection) is torch.nn.Linear and self.projection.bias is None

    def _project(self, hidden: Tensor) -> Tensor:
        found = few_rows(hidden, self.projection.weight) if self._plain else None
        logits: Tensor = self.projection(hidden) if found is None else found
        if self._divisor is not None:
            logits = logits / self._divisor
        if self._factor is not None:
            logits = logits * self._factor
        return logits if self._softcap is None else torch.tanh(logits / self._softcap) * self._softcap

    @torch.no_grad()
    def _agrees(self) -> bool:
        ids = torch.arange(4, device=self._device).unsqueeze(0) % self.vocabulary
        whole = self.model(input_ids=ids, use_cache=False).logits.float()
        hidden = self.decoder(input_ids=ids, use_cache=False).last_hidden_state
        found = self._project(hidden.to(self.dtype)).float()
        return found.shape == whole.shape and torch.allclose(found, whole, atol=1e-3, rtol=1e-3)


def _decoder(model: Any) -> Any:
    """What computes a model's hidden states, or None."""
    found = model.get_decoder() if hasattr(model, "get_decoder") else None
    # transformers does not find Llama 4's
    return getattr(model, "model", None) if found is model else found


def cache_argument(model: Any) -> str:
    """The name under which a model takes a cache: transformers is about to rename the argument."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _longest_context(config: Any) -> int:
    """The longest context of a model of this configuration, in tokens; 2^20 where it has no limit.

    With LongRoPE (Phi-3, Phi-4-mini) it is the length that the model was first trained on: transformers uses other
    frequencies for a whole pass once any of its sequences is longer, so that results would depend on the batch.
    """
    own = int(getattr(config, "max_position_embeddings", None) or 1 << 20)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return own
    short = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return min(own, int(short or own))
