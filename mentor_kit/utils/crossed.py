"""The mean of paired differences over seeds and problems, both of which are samples of those that might have been.

Every seed meets the same problems, so differences share what is particular to a seed and what is particular to a
problem: d[s, p] = μ + seed[s] + problem[p] + rest[s, p], a mixed model with two crossed random effects. Over a whole
table its variances follow from the mean squares of an analysis of variance (Searle, Casella and McCulloch, Variance
Components, 1992, chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mentor_kit.utils.statistics import Difference, mean_interval, t_quantile


def crossed_difference(table: Sequence[Sequence[float]]) -> Difference:
    """The mean of the differences with a 95 % interval for other seeds and other problems, inside [-1, 1].

    With the mean squares of seeds (A), problems (B) and the rest (E) over S seeds and P problems:

        SE² = max(A + B - E, A, B) / (S P)

    The maximum stands for variances that cannot be below 0. Degrees of freedom are Satterthwaite's (Biometrics Bulletin
    2, 1946): SE⁴ over the sum of the squared mean squares, each divided by its own degrees of freedom. The interval is
    never narrower than that over problems alone, of means over seeds.

    Args:
        table: the differences in [-1, 1], a row a seed and a column a problem; at least one row. One row, or one
            column, says nothing of how seeds, or problems, differ: the interval is over the other alone.

    Raises:
        ValueError: the rows differ in length, or there is none.
    """
    if not table or len({len(row) for row in table}) > 1:
        raise ValueError(f"{len(table)} rows of {sorted({len(row) for row in table})} differences")
    seeds, problems = len(table), len(table[0])
    if not problems:
        return Difference(0.0, -1.0, 1.0, 0)
    mean = math.fsum(value for row in table for value in row) / (seeds * problems)
    by_seed = [math.fsum(row) / problems for row in table]
    by_problem = [math.fsum(column) / seeds for column in zip(*table, strict=True)]
    low, high = mean_interval(by_problem if problems > 1 else by_seed, bounds=(-1.0, 1.0))
    if seeds > 1 and problems > 1:
        half = _half_width(table, mean, by_seed, by_problem)
        low, high = min(low, max(-1.0, mean - half)), max(high, min(1.0, mean + half))
    return Difference(mean, low, high, seeds * problems)


def _half_width(
    table: Sequence[Sequence[float]], mean: float, by_seed: Sequence[float], by_problem: Sequence[float]
) -> float:
    seeds, problems = len(by_seed), len(by_problem)
    of_seeds = problems * math.fsum((value - mean) ** 2 for value in by_seed) / (seeds - 1)
    of_problems = seeds * math.fsum((value - mean) ** 2 for value in by_problem) / (problems - 1)
    rest = math.fsum(
        (value - of_seed - of_problem + mean) ** 2
        for row, of_seed in zip(table, by_seed, strict=True)
        for value, of_problem in zip(row, by_problem, strict=True)
    ) / ((seeds - 1) * (problems - 1))
    square, used = max(
        (of_seeds + of_problems - rest, (of_seeds, of_problems, rest)),
        (of_seeds, (of_seeds, 0.0, 0.0)),
        (of_problems, (0.0, of_problems, 0.0)),
    )
    if square <= 0:
        return 0.0
    a, b, e = used
    spread = a**2 / (seeds - 1) + b**2 / (problems - 1) + e**2 / ((seeds - 1) * (problems - 1))
    freedom = max(1, math.floor(square**2 / spread + 1e-9))
    return t_quantile(freedom) * math.sqrt(square / (seeds * problems))
