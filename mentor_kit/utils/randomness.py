"""Counter-based random numbers: each depends on its seed and position alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uniforms(
    seeds: Sequence[int] | NDArray[np.uint64], positions: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return one uniform number in [0, 1) for each (seed, position), by SplitMix64 (Steele et al., 2014).

    `position` is the index in the whole context of the token that is drawn.
    """
    with np.errstate(over="ignore"):
        state = mixed_seeds(seeds) + _GOLDEN * (np.asarray(positions).astype(np.uint64) + np.uint64(1))
        return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mixed_seeds(seeds: Sequence[int] | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Where the generator of each seed starts, for those who count on from there themselves."""
    with np.errstate(over="ignore"):
        return _mix(np.asarray(seeds, dtype=np.uint64))


def derive_seed(seed: int, *path: int | str) -> int:
    """Return a seed in [0, 2**64) for a path, such as `derive_seed(seed, "grpo", step, problem, rollout)`."""
    import hashlib

    text = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))
