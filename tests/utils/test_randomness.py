"""The counter-based uniform numbers and derived seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.utils.randomness import derive_seed, uniforms

MASK = 2**64 - 1
SEEDS = st.integers(0, MASK)
POSITIONS = st.integers(0, 2**31)


def mix(z: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014; Vigna's splitmix64.c), in Python's whole numbers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def twin(seed: int, position: int) -> float:
    """The (position + 1)-th output of a SplitMix64 that starts from the mixed seed, as 53 bits after the point."""
    return (mix((mix(seed) + (position + 1) * 0x9E3779B97F4A7C15) & MASK) >> 11) / 2**53


def test_the_twins_finaliser_is_splitmix64() -> None:
    # the first outputs of the published generator for the seed 1234567
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        outputs.append(mix(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(st.tuples(SEEDS, POSITIONS), min_size=1, max_size=20))
def test_uniforms_are_the_scalar_twins_whatever_the_batch(pairs: list[tuple[int, int]]) -> None:
    seeds, positions = zip(*pairs, strict=True)
    together = uniforms(seeds, positions)
    assert together.dtype == np.float64
    assert together.tolist() == [twin(*pair) for pair in pairs]
    assert [float(uniforms([seed], [position])[0]) for seed, position in pairs] == together.tolist()
    assert bool(((together >= 0) & (together < 1)).all())


def chi_square(values: np.ndarray, bins: int) -> float:
    counts = np.histogram(values, bins=bins, range=(0, 1))[0]
    expected = len(values) / bins
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("along", ["positions", "seeds", "derived seeds"])
def test_they_are_spread_evenly(along: str) -> None:
    n, bins = 100_000, 100
    if along == "positions":
        values = uniforms(np.full(n, 7, dtype=np.uint64), np.arange(n))
    elif along == "seeds":
        values = uniforms(np.arange(n, dtype=np.uint64), np.full(n, 3))
    else:
        n = 20_000
        values = uniforms([derive_seed(0, "grpo", i) for i in range(n)], np.full(n, 3))
    # 99 degrees of freedom: the 99.99 % quantile is 161.3
    assert chi_square(values, bins) < 161.3


def test_neighbours_are_uncorrelated() -> None:
    n = 200_000
    by_position = uniforms(np.full(n, 1, dtype=np.uint64), np.arange(n))
    by_seed = uniforms(np.arange(n, dtype=np.uint64), np.full(n, 1))
    for values in (by_position, by_seed):
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / np.sqrt(n)
    # the same stream shifted must not appear under a neighbouring seed
    other = uniforms(np.full(n, 2, dtype=np.uint64), np.arange(n))
    assert len(np.intersect1d(by_position, other)) == 0


@given(SEEDS, st.lists(st.integers(0, 99) | st.sampled_from(["grpo", "evaluate", "a/b"]), max_size=4))
def test_derived_seeds_fit_and_repeat(seed: int, path: list[int | str]) -> None:
    found = derive_seed(seed, *path)
    assert 0 <= found <= MASK
    assert derive_seed(seed, *path) == found


def test_derived_seeds_differ_by_place_and_never_change_between_versions() -> None:
    places = [derive_seed(s, stage, step, i) for s in range(3) for stage in "ab" for step in range(9) for i in range(9)]
    assert len(set(places)) == len(places)
    # blake2b("0/grpo/1"), 8 bytes, little-endian: computed with the b2sum command
    assert derive_seed(0, "grpo", 1) == int.from_bytes(bytes.fromhex(B2SUM), "little")


B2SUM = "99764dd509e6bfcc"
