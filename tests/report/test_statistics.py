from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.utils.statistics import (
    clustered_interval,
    mcnemar,
    mean_interval,
    paired_difference,
    pass_at_k,
    similarity,
    similarity_interval,
    t_quantile,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), 857-872: the score method
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_published_values(successes: int, count: int, low: float, high: float) -> None:
    assert wilson(successes, count) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(count - successes, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_at_the_edges() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0
    with pytest.raises(ValueError, match=r"\b8\b.*\b7\b"):
        wilson(8, 7)


@pytest.mark.parametrize(
    ("freedom", "value"),
    # any table of Student's t, column 0.975
    [
        *[(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (29, 2.045)],
        *[(30, 2.042), (60, 2.000), (120, 1.980), (5000, 1.960)],
    ],
)
def test_quantiles_of_t_agree_with_the_tables(freedom: int, value: float) -> None:
    assert t_quantile(freedom) == pytest.approx(value, abs=5.1e-4)


def test_the_interval_of_a_mean_by_hand() -> None:
    # mean 0.9, deviation sqrt((.01 + 0 + .01) / 2) = 0.1; 4.303 * 0.1 / sqrt(3) = 0.2484
    assert mean_interval([0.8, 0.9, 1.0], bounds=(0, 2)) == pytest.approx((0.6516, 1.1484), abs=1e-4)
    assert mean_interval([0.8, 0.9, 1.0]) == pytest.approx((0.6516, 1.0), abs=1e-4)
    assert mean_interval([0.8]) == (0.0, 1.0)
    assert mean_interval([], bounds=(-1, 1)) == (-1, 1)


@pytest.mark.parametrize(
    ("both", "gained", "lost", "neither", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), 2635-2650: method 10 on 36, 12, 2, 0
    [(36, 12, 2, 0, 0.0569, 0.3404)],
)
def test_paired_proportions_agree_with_the_published_value(
    both: int, gained: int, lost: int, neither: int, low: float, high: float
) -> None:
    after = [1] * (both + gained) + [0] * (lost + neither)
    before = [1] * both + [0] * gained + [1] * lost + [0] * neither
    order = list(range(len(after)))
    random.Random(0).shuffle(order)
    found = paired_difference([before[i] for i in order], [after[i] for i in order])
    assert found.mean == pytest.approx((gained - lost) / len(after))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_paired_means_by_hand() -> None:
    # differences 0.25, 0.5, 0.75: mean 0.5, deviation 0.25; 4.303 * 0.25 / sqrt(3) = 0.6211
    found = paired_difference([0.0, 0.25, 0.25], [0.25, 0.75, 1.0])
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, -0.1211, 1.0), abs=1e-4)
    with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
        paired_difference([1], [1, 0])
    assert paired_difference([], []).count == 0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_paired_intervals_hold_their_difference_and_mirror(pairs: list[tuple[int, int]]) -> None:
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = paired_difference(before, after), paired_difference(after, before)
    assert -1 <= there.low <= there.mean <= there.high <= 1
    assert (back.low, back.mean, back.high) == pytest.approx((-there.high, -there.mean, -there.low))


def test_paired_intervals_cover_the_truth() -> None:
    """Simulated: 95 % of intervals hold the true difference of 0.3 (0.6 right after, 0.3 before)."""
    generator = random.Random(5)
    held = 0
    for _ in range(400):
        before = [int(generator.random() < 0.3) for _ in range(50)]
        after = [int(generator.random() < (0.9 if was else 0.4714)) for was in before]
        found = paired_difference(before, after)
        held += found.low <= 0.3 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_similarity_by_hand() -> None:
    # p = (1/2, 1/2), q = (1, 0), middle (3/4, 1/4):
    # JSD = 1/2 (1/2 log2(2/3) + 1/2 log2 2) + 1/2 log2(4/3) = 0.311278
    assert similarity(Counter(add=1, power=1), Counter(add=4)) == pytest.approx(1 - 0.3112781, abs=1e-6)
    assert similarity(Counter(add=2, sqrt=4), Counter(add=1, sqrt=2)) == 1.0
    assert similarity(Counter(add=1), Counter(sqrt=1)) == 0.0
    assert similarity(Counter(), Counter()) == 1.0
    assert similarity(Counter(), Counter(add=1)) == similarity(Counter(add=1), Counter()) == 0.0


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20))


@given(counts, counts)
def test_similarity_is_one_minus_the_divergence(one: dict[str, int], other: dict[str, int]) -> None:
    found = similarity(one, other)
    assert 0 <= found <= 1
    assert found == pytest.approx(similarity(other, one))
    if sum(one.values()) and sum(other.values()):

        def entropy(shares: list[float]) -> float:
            return -sum(share * math.log2(share) for share in shares if share > 0)

        p = [one.get(name, 0) / sum(one.values()) for name in "abcdef"]
        q = [other.get(name, 0) / sum(other.values()) for name in "abcdef"]
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        # the other form of the same thing: entropy of the mean minus mean of the entropies
        assert found == pytest.approx(1 - (entropy(middle) - (entropy(p) + entropy(q)) / 2), abs=1e-9)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(samples: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    outcomes = [True] * right + [False] * (samples - right)
    draws = list(itertools.combinations(outcomes, k))
    assert pass_at_k(samples, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_refuses_what_cannot_be() -> None:
    for samples, right, k in ((2, 3, 1), (2, 1, 3), (2, 1, 0), (2, -1, 1)):
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k(samples, right, k)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        # 2 (C(10,0) + C(10,1)) / 2^10, C(6,0) / 2^5, 2 (1 + 14 + 91) / 2^14
        (9, 1, 22 / 1024),
        (0, 6, 1 / 32),
        (12, 2, 212 / 16384),
    ],
)
def test_mcnemar_by_hand(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p)
    assert mcnemar(lost, gained) == pytest.approx(p)


@given(st.integers(0, 9), st.integers(0, 9))
def test_mcnemar_is_the_share_of_coin_tosses_at_least_as_one_sided(gained: int, lost: int) -> None:
    changed, least = gained + lost, min(gained, lost)
    as_extreme = sum(
        min(tosses.bit_count(), changed - tosses.bit_count()) <= least for tosses in range(2**changed)
    )  # fmt: skip
    assert mcnemar(gained, lost) == pytest.approx(as_extreme / 2**changed)


def test_mcnemar_of_very_many() -> None:
    # the normal approximation with continuity correction: (|3150 - 2850| - 1)^2 / 6000 = 14.9, p = 0.000113
    assert mcnemar(3150, 2850) == pytest.approx(0.000113, rel=0.02)
    with pytest.raises(ValueError, match="-1 lost"):
        mcnemar(1, -1)


def test_a_clustered_interval_by_hand() -> None:
    # p = 1/2; deviations sum to 1, 0, -1, 0 in a, b, c, d: SE^2 = 4/3 * 2 / 64, p (1 - p) / SE^2 = 6 of 8 trials;
    # t = 3.1824, so 6 (1.95996 / 3.1824)^2 = 2.2758 trials: Wilson's interval is 0.5 +- 0.3962
    values, clusters = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], list("aabbccdd")
    assert clustered_interval(values, clusters) == pytest.approx((0.1038, 0.8962), abs=1e-4)
    with pytest.raises(ValueError, match=r"\b2\b.*\b1\b"):
        clustered_interval([1.0, 0.0], ["a"])


@pytest.mark.parametrize(
    ("values", "clusters", "trials"),
    [
        ([1.0, 0.0] * 3, "aabbcc", 6),
        ([1.0, 1.0, 1.0, 0.0] * 2, "aaaabbbb", 8),
        ([1.0, 0.0] * 50, [str(place // 2) for place in range(100)], 100),
        ([0.25] * 7, "abcdefg", 7),
        ([0.5, 0.1, 0.9], "aab", 3),
        ([1.0, 0.0, 0.0, 0.0], "aabb", 4),
    ],
)
def test_clusters_that_are_alike_count_for_no_more_than_their_trials(
    values: list[float], clusters: list[str], trials: int
) -> None:
    """The limits solve the score equation |p - limit| = z sqrt(limit (1 - limit) / trials), with t in z's place."""
    low, high = clustered_interval(values, clusters)
    mean, groups = sum(values) / len(values), len(set(clusters))
    sums = [sum(v - mean for v, c in zip(values, clusters, strict=True) if c == name) for name in set(clusters)]
    error = groups / (groups - 1) * sum(found**2 for found in sums) / len(values) ** 2
    variance = max(error, mean * (1 - mean) / trials)
    for limit in (low, high):
        scaled = variance / (mean * (1 - mean)) * limit * (1 - limit)
        assert abs(mean - limit) == pytest.approx(t_quantile(groups - 1) * math.sqrt(scaled), rel=1e-6)


def test_one_cluster_says_nothing_of_others() -> None:
    assert clustered_interval([1.0, 0.0], ["a", "a"]) == (0.0, 1.0)
    assert clustered_interval([], []) == (0.0, 1.0)
    assert clustered_interval([1.0, 1.0], ["a", "a"]) == wilson(1, 1)
    assert clustered_interval([0.0] * 6, list("aabbcc")) == wilson(0, 3)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1 / 3]), st.sampled_from("abcdef")), max_size=30),
    st.integers(1, 40),
)
def test_clustered_intervals_hold_their_mean_and_have_width(drawn: list[tuple[float, str]], trials: int) -> None:
    values, clusters = [value for value, _ in drawn], [cluster for _, cluster in drawn]
    low, high = clustered_interval(values, clusters, trials=trials)
    assert 0 <= low < high <= 1
    assert not values or low <= sum(values) / len(values) + 1e-12
    assert not values or high >= sum(values) / len(values) - 1e-12
    mirrored = clustered_interval([1 - value for value in values], clusters, trials=trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize("shape", [(50, 50), (2, 2), (0.3, 0.3), (0.2, 2), (0.5, 8)])
@pytest.mark.parametrize("problems", [3, 12])
def test_clustered_intervals_cover_the_truth(shape: tuple[float, float], problems: int) -> None:
    """Simulated: four samples of each problem, whose own accuracies are drawn from a beta distribution."""
    generator = random.Random(11)
    truth, held = shape[0] / sum(shape), 0
    clusters = [str(place) for place in range(problems) for _ in range(4)]
    for _ in range(400):
        rates = [generator.betavariate(*shape) for _ in range(problems)]
        low, high = clustered_interval([float(generator.random() < rate) for rate in rates for _ in range(4)], clusters)
        held += low <= truth <= high
    assert held / 400 >= 0.92


@given(
    st.floats(0, 1), st.integers(2, 40), st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 5.0)])
)  # fmt: skip
def test_equal_values_have_an_interval_with_width(value: float, count: int, bounds: tuple[float, float]) -> None:
    low, high = mean_interval([value] * count, bounds=bounds)
    assert bounds[0] <= low <= value + 1e-12
    assert value - 1e-12 <= high <= bounds[1]
    # of all values a share of z^2 / (n + z^2), which n draws may miss, might be anything
    assert high - low == pytest.approx(3.8414588 / (count + 3.8414588) * (bounds[1] - bounds[0]))


def test_equal_values_at_a_bound_are_a_proportion() -> None:
    for count in (2, 3, 10):
        assert mean_interval([1.0] * count) == pytest.approx(wilson(count, count))
        assert mean_interval([0.0] * count) == pytest.approx(wilson(0, count))
    # 0.1 + 0.2 is not 0.3 to the bit, and no spread either
    assert mean_interval([0.1 + 0.2, 0.3, 0.3]) == pytest.approx(mean_interval([0.3] * 3))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([0.5, 0.25], [1.0, 0.75]),
        ([0.5, 0.25], [0.5, 0.25]),
        ([0.3, 0.2, 0.1], [0.2, 0.1, 0.0]),
        ([1, 1, 1], [1, 1, 1]),
        ([0] * 10, [1] * 10),
        ([0.5], [0.75]),
        ([1], [1]),
    ],
)
def test_equal_differences_have_an_interval_with_width(before: list[float], after: list[float]) -> None:
    found = paired_difference(before, after)
    assert -1 <= found.low < found.high <= 1
    assert found.low <= found.mean <= found.high
    back = paired_difference(after, before)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_clustered_intervals_cover_the_truth_where_plain_ones_do_not() -> None:
    """Simulated: 20 problems, each right or wrong in all of its 8 samples."""
    generator = random.Random(3)
    clustered = plain = 0
    for _ in range(300):
        problems = [float(generator.random() < 0.5) for _ in range(20)]
        values = [value for value in problems for _ in range(8)]
        low, high = clustered_interval(values, [str(place) for place in range(20) for _ in range(8)])
        clustered += low <= 0.5 <= high
        low, high = mean_interval(values)
        plain += low <= 0.5 <= high
    assert clustered / 300 > 0.9
    assert plain / 300 < 0.6


def test_similarity_intervals() -> None:
    mixed = [(Counter(add=1), Counter(add=1)), (Counter(sqrt=1), Counter(add=1))] * 20
    low, high = similarity_interval(mixed)
    # p = (1/2, 1/2) against (1, 0): 1 - 0.3113
    assert similarity(Counter(add=20, sqrt=20), Counter(add=40)) == pytest.approx(0.6887, abs=1e-4)
    assert similarity_interval(mixed) == (low, high)
    # with 40 problems the share of sqrt is 0.5 ± 0.155, where similarity is 0.80 and 0.57
    assert (low, high) == pytest.approx((0.57, 0.80), abs=0.03)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_similarities_without_spread_have_an_interval_with_width(count: int) -> None:
    unseen = 3.8414588 / (count + 3.8414588)
    alike = similarity_interval([(Counter(add=2), Counter(add=1))] * count)
    # p = (1 - u, u) against (1, 0): what `count` equal problems need not have shown
    assert alike == pytest.approx((similarity({"add": 1 - unseen, "new": unseen}, Counter(add=1)), 1.0))
    apart = similarity_interval([(Counter(sqrt=2), Counter(add=1))] * count)
    assert apart == pytest.approx((0.0, similarity({"add": unseen, "sqrt": 1 - unseen}, Counter(add=1))))
    part = similarity_interval([(Counter(add=1, sqrt=1), Counter(add=1))] * count)
    assert part[0] < 0.6887 < part[1]


def test_nothing_is_known_of_tools_that_nobody_used() -> None:
    assert similarity_interval([(Counter(add=1), Counter(add=1))]) == (0.0, 1.0)
    assert similarity_interval([(Counter(), Counter())] * 3) == (0.0, 1.0)
    assert similarity_interval([(Counter(), Counter(add=1))] * 3) == (0.0, 1.0)
    assert similarity_interval([]) == (0.0, 1.0)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=6))
def test_similarity_intervals_hold_their_estimate(pairs: list[tuple[dict[str, int], dict[str, int]]]) -> None:
    low, high = similarity_interval(pairs, resamples=50)
    own, shown = (sum((Counter(pair[side]) for pair in pairs), Counter[str]()) for side in (0, 1))
    assert 0 <= low < high <= 1
    assert low - 1e-9 <= similarity(own, shown) <= high + 1e-9


def test_similarity_intervals_cover_the_truth() -> None:
    """Simulated: the teacher adds in all of 25 problems, the student in 95 of 100; often all are alike."""
    generator = random.Random(2)
    truth, held = similarity({"add": 0.95, "sqrt": 0.05}, Counter(add=1)), 0
    for _ in range(200):
        own = [Counter(add=1) if generator.random() < 0.95 else Counter(sqrt=1) for _ in range(25)]
        low, high = similarity_interval([(used, Counter(add=1)) for used in own], resamples=200)
        held += low <= truth <= high
    assert held / 200 >= 0.92


used = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 20), min_size=1)


@given(st.lists(st.tuples(used, used), min_size=2, max_size=5))
def test_resampled_similarities_are_those_of_the_function(pairs: list[tuple[dict[str, int], dict[str, int]]]) -> None:
    """With one resample the interval holds the similarity of that draw of problems, and no less than the least."""
    drawn = numpy.random.default_rng(7).multinomial(len(pairs), [1 / len(pairs)] * len(pairs))
    own, shown = Counter[str](), Counter[str]()
    for times, (student, teacher) in zip(drawn, pairs, strict=True):
        for _ in range(times):
            own.update(student)
            shown.update(teacher)
    low, high = similarity_interval(pairs, resamples=1, seed=7)
    assert low <= similarity(own, shown) + 1e-9
    assert high >= similarity(own, shown) - 1e-9
