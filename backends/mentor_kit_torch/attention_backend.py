"""The attention that transformers calls under an attention plan: a tree's, or one with a shared prefix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface

#: The name under which transformers finds this attention.
NAME = "mentor_kit"


@dataclass(frozen=True)
class ScoreChanges:
    """What some models do to the scores of attention."""

    softcap: float | None = None
    """c of c · tanh(score / c), as in Gemma 2."""
    sinks: Tensor | None = None
    """(H,): a score more in each sum, of a key without a value, as in gpt-oss."""

    def refuse(self) -> None:
        """Refuse them where attention in parts cannot do them.

        Raises:
            ValueError: there are any.
        """
        if self.softcap is not None or self.sinks is not None:
            raise ValueError("attention in parts has neither soft caps nor sinks")


#: Of models that change nothing.
PLAIN_SCORES = ScoreChanges()


class AttentionPlan(Protocol):
    """How tokens attend in a pass."""

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        scale: float,
        changes: ScoreChanges = PLAIN_SCORES,
    ) -> Tensor:
        """Attention (n, H, T, D) of queries (n, H, T, D) to keys and values (n, K, L, D), with K dividing H.

        Raises:
            ValueError: it cannot do the layer's attention, or these changes of scores.
        """
        ...


_PLAN: ContextVar[AttentionPlan] = ContextVar("mentor_kit_plan")


@contextmanager
def attending(config: Any, plan: AttentionPlan) -> Iterator[None]:
    """Run the model of this configuration under a plan."""
    before, token = config._attn_implementation, _PLAN.set(plan)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _PLAN.reset(token)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    if options.get("position_bias") is not None:
        raise ValueError("attention under a plan has no position_bias")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    changes = ScoreChanges(options.get("softcap"), options.get("s_aux"))
    out = _PLAN.get().attend(module.layer_idx, query, key, value, attention_mask, scale, changes)
    return out.transpose(1, 2), None


AttentionInterface.register(NAME, _attention)


def fold(states: Tensor, heads: int) -> Tensor:
    """Queries (n, H, T, D) as (1, heads, n * H / heads * T, D): all of one key head, in a row."""
    return states.reshape(len(states), heads, -1, states.shape[-1]).transpose(0, 1).flatten(1, 2).unsqueeze(0)


def unfold(values: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `fold`, also without a last dimension, for queries of `shape` (n, H, T, D)."""
    heads, rest = values.shape[1], values.shape[3:]
    return values[0].reshape(heads, shape[0], -1, *rest).transpose(0, 1).reshape(*shape[:3], *rest)
