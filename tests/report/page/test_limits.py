import itertools

import pytest

from mentor_kit.core.errors import UsageError
from mentor_kit.report.page.limits import PageLimits, spread


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 60, 1000])
def test_spread_gives_every_item_once(count):
    assert sorted(spread(range(count))) == list(range(count))


@pytest.mark.parametrize(("count", "kept"), [(1000, 10), (1000, 137), (60, 9)])
def test_every_beginning_of_spread_leaves_no_large_gap(count, kept):
    found = sorted([*spread(range(count))][:kept])
    assert found[0] == 0
    assert found[-1] == count - 1
    even = count / kept
    assert max(b - a for a, b in itertools.pairwise(found)) <= 4 * even


def test_selections():
    assert PageLimits.of("every=10").count == 10
    assert (PageLimits.of("worst=200").kind, PageLimits.of("worst=200").count) == ("worst", 200)
    assert PageLimits.of("none", 3).bytes == 3_000_000


@pytest.mark.parametrize("rollouts", ["some", "every=0", "every=-1", "worst=", "worst=1.5", "", "every=10 "])
def test_wrong_selections(rollouts):
    with pytest.raises(UsageError) as caught:
        PageLimits.of(rollouts)
    assert repr(rollouts) in caught.value.message


@pytest.mark.parametrize("megabytes", [0, -1, 1e9, float("nan"), "5"])
def test_wrong_sizes(megabytes):
    with pytest.raises(UsageError):
        PageLimits.of("all", megabytes)
