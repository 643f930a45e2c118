"""How the losses of tokens become one number: weights over everything an update was given, so micro-batches add up.

sequence   1 / (sequences · tokens of the sequence)    the mean of the sequences' means
token      1 / tokens of all sequences                 the mean of all tokens
constant   1 / (sequences · length)                    sums over tokens, by a constant length
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Aggregation = Literal["sequence", "token", "constant"]


def token_weights(
    aggregation: Aggregation, masks: Sequence[NDArray[np.float32]], constant_length: int | None = None
) -> list[NDArray[np.float32]]:
    """The weight of every token of every sequence of an update, from the sequences' masks.

    Sequences without a trained token weigh nothing and do not count as sequences. The weights sum to 1 for
    `token` and `sequence` aggregation.

    Args:
        aggregation: how tokens are averaged.
        masks: of all sequences of the update, each of shape (n,).
        constant_length: for `constant`; 1 if left out.
    """
    lengths = [float(mask.sum()) for mask in masks]
    sequences = sum(length > 0 for length in lengths)
    tokens = sum(lengths)

    def divisor(length: float) -> float:
        if aggregation == "token":
            return tokens
        return sequences * (length if aggregation == "sequence" else float(constant_length or 1))

    return [
        (mask / divisor(length)).astype(np.float32) if length else np.zeros_like(mask, dtype=np.float32)
        for mask, length in zip(masks, lengths, strict=True)
    ]
