"""Statistics of evaluations and reports: 95 % intervals, pass@k, paired tests, similarity of tool use.

Nothing here knows of runs or trajectories: numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

#: The normal distribution's 97.5 % quantile.
Z = 1.959963984540054

#: Values closer together than this differ by rounding alone.
SAME = 1e-9

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
    return (0.0, 1.0) if count == 0 else _score_interval(successes / count, count)


def _score_interval(share: float, count: float) -> Interval:
    """Wilson's interval of a share of so many trials, which need not be a whole number."""
    scale = 1 + Z**2 / count
    centre = (share + Z**2 / (2 * count)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return (
        0.0 if share <= 0 else min(share, max(0.0, centre - half)),
        1.0 if share >= 1 else max(share, min(1.0, centre + half)),
    )


def unseen(count: int) -> float:
    """The largest share of a population of which `count` draws need not show anything: Wilson's limit for none."""
    return Z**2 / (count + Z**2)


def mean_interval(values: Sequence[float], *, bounds: Interval = (0.0, 1.0)) -> Interval:
    """Student's 95 % interval of a mean, cut to the values' possible range.

    Where all values are the same there is no spread to go by, and they are taken for what a share of the population
    as large as `unseen` may differ from, in either direction: v - u (v - low) to v + u (high - v). For values at a
    bound this is Wilson's interval.

    Args:
        values: independent observations, such as one accuracy a seed.
        bounds: what a value can be at least and at most. Fewer than two observations say nothing about their
            spread, so their interval is this whole range.
    """
    low, high = bounds
    if len(values) < 2:
        return low, high
    mean, deviation = mean_and_deviation(values)
    if max(values) - min(values) <= SAME:
        share = unseen(len(values))
        return max(low, mean - share * (mean - low)), min(high, mean + share * (high - mean))
    half = t_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
    return max(low, mean - half), min(high, mean + half)


def clustered_interval(values: Sequence[float], clusters: Sequence[str], *, trials: float | None = None) -> Interval:
    """A 95 % interval of a mean of values in [0, 1], correlated within clusters such as the samples of one problem.

    Wilson's interval with an effective number of trials (Korn and Graubard, Survey Methodology 24, 1998; with Wilson's
    interval Franco et al., Journal of Survey Statistics and Methodology 7, 2019), in which t is Student's quantile with
    G - 1 degrees of freedom for G clusters:

        n_e = (z / t)² · min(n, p (1 - p) / SE²)

    SE is the cluster-robust standard error (Liang and Zeger, Biometrika 73, 1986; for evaluations Miller, arXiv
    2411.00640, section 2.2) with its correction G / (G - 1):

        SE² = G / (G - 1) · Σ_g (Σ_{i in g} (v_i - p))² / N²

    Values that happen to be alike in all clusters so count for no more than n independent trials. Where p is 0 or 1,
    it is Wilson's interval with the clusters for its trials.

    Args:
        values: N observations.
        clusters: the cluster of each; clusters are independent of each other. Fewer than two, whose values are not all
            0 or all 1, say nothing of how they differ: their interval is [0, 1].
        trials: the number n of trials that all observations stand for; N if left out.
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values in {len(clusters)} clusters")
    groups = len(set(clusters))
    if groups == 0:
        return 0.0, 1.0
    mean = min(1.0, max(0.0, math.fsum(values) / len(values)))
    if mean in (0.0, 1.0):
        return _score_interval(mean, groups)
    if groups < 2:
        return 0.0, 1.0
    sums: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums.setdefault(cluster, []).append(value - mean)
    spread = math.fsum(math.fsum(deviations) ** 2 for deviations in sums.values())
    error = groups / (groups - 1) * spread / len(values) ** 2
    count = trials if trials is not None else len(values)
    effective = min(count, mean * (1 - mean) / error) if error > 0 else count
    return _score_interval(mean, effective * (Z / t_quantile(groups - 1)) ** 2)


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The unbiased estimate, from `samples` samples, of the probability that at least one of `k` is correct.

    1 - C(samples - right, k) / C(samples, k) (Chen et al., arXiv 2107.03374, section 2.1).

    Args:
        samples: how many were drawn, at least `k`.
        right: 0 <= right <= samples.
        k: at least 1.
    """
    if not 0 <= right <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {right} right ones among {samples}")
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: how likely is a split of the changes at least as uneven by chance?

    Among the problems that changed, gains are Binomial(gained + lost, 1/2) if there is no difference; p is twice the
    smaller tail, at most 1 (McNemar, Psychometrika 12, 1947; exact form).

    Args:
        gained: problems wrong before and right after.
        lost: problems right before and wrong after.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"{gained} gained, {lost} lost")
    changed = gained + lost
    ways, tail = 1, 0
    for count in range(min(gained, lost) + 1):
        tail += ways
        ways = ways * (changed - count) // (count + 1)
    # shifted, not multiplied: whole numbers are divided exactly, however large they are
    return min(1.0, 2 * tail / (1 << changed))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean of at least one value, and the sample's standard deviation (n - 1; 0 for a single value)."""
    mean = math.fsum(values) / len(values)
    spread = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(spread / (len(values) - 1)) if len(values) > 1 else 0.0


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's correlation of pairs, in [-1, 1]; None where one of the two never varies."""
    if not xs or min(xs) == max(xs) or min(ys) == max(ys):
        return None
    x_mean, y_mean = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    product = math.fsum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    squares = math.fsum((x - x_mean) ** 2 for x in xs) * math.fsum((y - y_mean) ** 2 for y in ys)
    return None if squares == 0 else max(-1.0, min(1.0, product / math.sqrt(squares)))


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """How much better the same problems went after than before, with a 95 % interval inside [-1, 1].

    Right-or-wrong outcomes (all 0 or 1) take Newcombe's score interval for paired proportions (method 10;
    Newcombe, Statistics in Medicine 17, 1998, 2635-2650), which also holds where nothing or everything
    changed; means of several samples take `mean_interval` of the differences.

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


def similarity(student: Mapping[str, float], teacher: Mapping[str, float]) -> float:
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


def similarity_interval(
    pairs: Sequence[tuple[Mapping[str, int], Mapping[str, int]]], *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """A 95 % interval of `similarity` over problems: the percentile bootstrap (Efron, 1979), the same for a seed.

    Draws from few or equal problems show less spread than there is. So the interval holds at least what the estimate
    would be if of the student's calls a share as large as `unseen` were of a tool that nobody has used, or had been
    drawn from the teacher's. Where one of the two has used no tool, or there is one problem, it is [0, 1].

    Args:
        pairs: for each problem, how often the student and the teacher used each tool in it.
        resamples: how many times as many problems are drawn again, with replacement.
        seed: of the drawing.
    """
    import numpy as np

    names = sorted({name for pair in pairs for counts in pair for name in counts})
    counts = np.array([[[side.get(name, 0) for name in names] for side in pair] for pair in pairs], dtype=float)
    if len(pairs) < 2 or not all(counts.sum(axis=(0, 2))):
        return 0.0, 1.0
    drawn = np.random.default_rng(seed).multinomial(len(pairs), [1 / len(pairs)] * len(pairs), size=resamples)
    own, shown = (drawn @ counts[:, side].reshape(len(pairs), len(names)) for side in (0, 1))
    used, taught = own.sum(axis=1), shown.sum(axis=1)
    p, q = own / np.maximum(used, 1)[:, None], shown / np.maximum(taught, 1)[:, None]
    middle = np.maximum((p + q) / 2, 1e-300)
    divergence = sum((share / 2 * np.log2(np.maximum(share, 1e-300) / middle)).sum(axis=1) for share in (p, q))
    alike = np.where((used == 0) | (taught == 0), used == taught, np.clip(1 - divergence, 0, 1))
    low, high = np.quantile(alike, [0.025, 0.975])
    totals = [dict(zip(names, map(float, side), strict=True)) for side in counts.sum(axis=0)]
    least, most = _unseen_similarities(totals[0], totals[1], len(pairs))
    return min(float(low), least), max(float(high), most)


def _unseen_similarities(student: Mapping[str, float], teacher: Mapping[str, float], count: int) -> Interval:
    """`similarity` if the student's unseen calls were of an unused tool, and if they were drawn from the teacher's."""
    share, own, shown = unseen(count), sum(student.values()), sum(teacher.values())
    seen = {name: (1 - share) * used / own for name, used in student.items()}
    taught = {name: seen[name] + share * teacher[name] / shown for name in seen}
    return similarity({**seen, "": share}, teacher), similarity(taught, teacher)
