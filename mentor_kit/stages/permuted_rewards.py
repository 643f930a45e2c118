"""A control experiment: rewards permuted within their group, so that nothing can be learned from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mentor_kit.utils.randomness import derive_seed


def permuted(rewards: NDArray[np.float64], seed: int, step: int) -> NDArray[np.float64]:
    """Rewards of shape (N, G) with every row permuted; the same permutation for the same seed and step."""
    generator = np.random.default_rng(derive_seed(seed, "permute", step))
    return generator.permuted(rewards, axis=1)
