"""The state of MLX's random numbers, which dropout and new adapters draw from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit.core.frozen_model import Json
from mentor_kit.utils.randomness import derive_seed


def random_state() -> int:
    """The seed that puts MLX's generator in its present state: its key, which is a seed's two halves."""
    generator: Any = mx.random
    high, low = next(iter(generator.state)).tolist()
    return int(high) << 32 | int(low)


def own_seed() -> int:
    """A drawn seed, for what is computed twice and must draw the same numbers both times."""
    return int(np.array(mx.random.randint(0, 1 << 30)))


def seed_of(states: Sequence[Json], rank: int) -> int:
    """The seed that restores a process's generator; one of its own where the process did not take part before.

    Args:
        states: `random_state` of every process when a checkpoint was written.
        rank: the process's place.
    """
    return int(states[rank]) if rank < len(states) else derive_seed(int(states[0]), "process", rank)


@contextmanager
def drawing_from(seed: int | None) -> Iterator[None]:
    """Draw random numbers from a seed, and then continue from the state before; None changes nothing."""
    if seed is None:
        yield
        return
    before = random_state()
    mx.random.seed(seed)
    try:
        yield
    finally:
        mx.random.seed(before)
