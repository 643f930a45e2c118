"""The state of MLX's random numbers, which dropout and new adapters draw from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np


def random_state() -> int:
    """The seed that brings MLX's generator into the state it is in: its key, which is a seed's two halves."""
    generator: Any = mx.random
    high, low = next(iter(generator.state)).tolist()
    return int(high) << 32 | int(low)


def own_seed() -> int:
    """A seed, drawn, for what is computed twice and must draw the same numbers both times."""
    return int(np.array(mx.random.randint(0, 1 << 30)))


@contextmanager
def drawing_from(seed: int | None) -> Iterator[None]:
    """Random numbers are drawn from a seed for a while, and then go on where they were; None changes nothing."""
    if seed is None:
        yield
        return
    before = random_state()
    mx.random.seed(seed)
    try:
        yield
    finally:
        mx.random.seed(before)
