"""How much memory a sequence's state takes, found from the shapes of what a model's layers keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit_mlx.cache import UNFIT
from mentor_kit_mlx.quantized import Quantized
from mentor_kit_mlx.row_states import MLXRowStates


@dataclass(frozen=True)
class StateSize:
    """Bytes of the state of one sequence."""

    position: int = 0
    """Of each token's keys and values, in all layers."""
    row: int = 0
    """Of what is of fixed size, in recurrent layers and convolutions."""

    def bytes(self, tokens: int) -> int:
        """Of a sequence of so many tokens."""
        return tokens * self.position + self.row


def state_size(model: Any, quantized: Quantized | None = None) -> StateSize:
    """The size of a model's state; nothing where it cannot be kept. No weights are computed, as MLX waits with that.

    Args:
        model: of mlx-lm, in the type in which it is run.
        quantized: how keys and values are kept; None for as they are.
    """

    def run(ids: mx.array, given: list[Any]) -> mx.array:
        found: mx.array = model(ids, cache=given)
        return found

    states = MLXRowStates(model, run, quantized)
    states.reserve(1, 1)
    one = np.ones(1, dtype=np.int64)
    try:
        states.run(np.zeros((1, 1), dtype=np.int64), 0 * one, 1, [0], one)
    except UNFIT:
        return StateSize()
    kept = [(layer.position_nbytes, layer.nbytes) for layer in states.layers]
    return StateSize(sum(growing for growing, _ in kept), sum(whole - growing for growing, whole in kept))
