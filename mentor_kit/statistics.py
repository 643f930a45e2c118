"""The few statistics that evaluations and reports share: 95 % intervals, and how alike two uses of tools are.

Nothing here knows of runs or trajectories: numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

#: The normal distribution's 97.5 % quantile.
Z = 1.959963984540054

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A mean paired difference (after minus before) with its 95 % interval."""

    mean: float
    low: float
    high: float
    count: int
    """How many pairs."""


def wilson(successes: int, count: int) -> Interval:
    """Wilson's 95 % score interval of a proportion, without continuity correction (Wilson, 1927).

    Args:
        successes: 0 <= successes <= count.
        count: the number of trials; for 0 the interval is all of [0, 1].
    """
    if not 0 <= successes <= count:
        raise ValueError(f"{successes} successes in {count} trials")
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    scale = 1 + Z**2 / count
    centre = (share + Z**2 / (2 * count)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return (
        0.0 if successes == 0 else max(0.0, centre - half),
        1.0 if successes == count else min(1.0, centre + half),
    )


def mean_interval(values: Sequence[float], *, bounds: Interval = (0.0, 1.0)) -> Interval:
    """Student's 95 % interval of a mean, cut to the values' possible range.

    Args:
        values: independent observations, such as one accuracy a seed.
        bounds: what a value can be at least and at most. Fewer than two observations say nothing about their
            spread, so their interval is this whole range.
    """
    low, high = bounds
    if len(values) < 2:
        return low, high
    mean, deviation = mean_and_deviation(values)
    half = t_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    return max(low, mean - half), min(high, mean + half)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean of at least one value, and the sample's standard deviation (n - 1; 0 for a single value)."""
    mean = math.fsum(values) / len(values)
    spread = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(spread / (len(values) - 1)) if len(values) > 1 else 0.0


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """How much better the same problems went after than before, with a 95 % interval inside [-1, 1].

    Right-or-wrong outcomes (all 0 or 1) take Newcombe's score interval for paired proportions (method 10;
    Newcombe, Statistics in Medicine 17, 1998, 2635-2650), which also holds where nothing or everything
    changed; means of several samples take Student's interval of the differences.

    Args:
        before: outcomes in [0, 1].
        after: the later outcomes, in the same order of problems.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} outcomes before, {len(after)} after")
    if not before:
        return Difference(0.0, -1.0, 1.0, 0)
    differences = [late - early for early, late in zip(before, after, strict=True)]
    mean = math.fsum(differences) / len(differences)
    if {*before, *after} <= {0, 1}:
        low, high = _newcombe(before, after)
    else:
        low, high = mean_interval(differences, bounds=(-1.0, 1.0))
    return Difference(mean, low, high, len(differences))


def _newcombe(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Newcombe's method 10 for the proportion right after minus the proportion right before."""
    pairs = list(zip(after, before, strict=True))
    count = len(pairs)
    both, gained = pairs.count((1, 1)), pairs.count((1, 0))
    lost, neither = pairs.count((0, 1)), pairs.count((0, 0))
    late, early = (both + gained) / count, (both + lost) / count
    (late_low, late_high), (early_low, early_high) = wilson(both + gained, count), wilson(both + lost, count)
    phi = _phi(both, gained, lost, neither)
    down, up = (late - late_low, early_high - early), (late_high - late, early - early_low)
    difference = late - early
    return (
        max(-1.0, difference - math.sqrt(max(0.0, down[0] ** 2 - 2 * phi * down[0] * down[1] + down[1] ** 2))),
        min(1.0, difference + math.sqrt(max(0.0, up[0] ** 2 - 2 * phi * up[0] * up[1] + up[1] ** 2))),
    )


def _phi(both: int, gained: int, lost: int, neither: int) -> float:
    """The correlation of the pairs, with Newcombe's continuity correction where it is positive."""
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    if margins == 0:
        return 0.0
    product = float(both * neither - gained * lost)
    if product > 0:
        product = max(product - (both + gained + lost + neither) / 2, 0.0)
    return product / math.sqrt(margins)


@lru_cache(maxsize=1024)
def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution, for at least 1 degree of freedom."""
    low, high = 0.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, freedom) < 0.95 else (low, middle)
    return (low + high) / 2


def _t_within(t: float, freedom: int) -> float:
    """P(|T| < t), by the finite sums of Abramowitz and Stegun (26.7.3, 26.7.4), exact for whole `freedom`."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(3 if odd else 2, freedom + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def similarity(student: Mapping[str, int], teacher: Mapping[str, int]) -> float:
    """Tool-use similarity, 1 - JSD (base 2) of two distributions of tool names; from 0 to 1.

    MENTOR (arXiv 2510.18383), section 4. Two that use no tools at all are alike (1); one that uses tools and one
    that does not have nothing in common (0).

    Args:
        student: how often each tool was used; `collections.Counter` fits.
        teacher: the same of the teacher.
    """
    own, shown = sum(student.values()), sum(teacher.values())
    if own == 0 or shown == 0:
        return float(own == shown)
    divergence = 0.0
    for name in sorted({*student, *teacher}):
        p, q = student.get(name, 0) / own, teacher.get(name, 0) / shown
        middle = (p + q) / 2
        divergence += sum(share / 2 * math.log2(share / middle) for share in (p, q) if share > 0)
    return min(1.0, max(0.0, 1.0 - divergence))
