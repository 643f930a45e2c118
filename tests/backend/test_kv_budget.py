"""The budget of keys and values, by numbers worked out by hand."""

from __future__ import annotations

import pytest

from mentor_kit.backend.kv_budget import KVBudget
from mentor_kit.core.errors import BackendError


def test_positions_come_in_blocks() -> None:
    budget = KVBudget(limit=3 * 128 * 10, position=10)
    assert budget.fits(3, 128)
    assert budget.fits(1, 384)
    assert not budget.fits(2, 129)
    assert not budget.fits(3, 100, prefix=1)
    assert KVBudget(limit=None, position=10).fits(10**6, 10**6)


def test_state_of_fixed_size_is_there_once_a_row_and_once_for_a_prefix() -> None:
    assert KVBudget(limit=2 * 1280 + 2 * 7, position=10, row=7).fits(2, 128)
    assert not KVBudget(limit=2 * 1280 + 13, position=10, row=7).fits(2, 128)
    assert KVBudget(limit=2 * 1280 + 50 + 3 * 7, position=10, row=7).fits(2, 128, prefix=5)
    assert not KVBudget(limit=2 * 1280 + 50 + 20, position=10, row=7).fits(2, 128, prefix=5)


def test_rows_are_exact_where_memory_is_limited() -> None:
    assert [KVBudget(limit=1, position=1).rows(n) for n in (1, 9)] == [1, 9]
    assert [KVBudget(limit=None, position=1).rows(n) for n in (1, 8, 9)] == [8, 8, 16]


def test_a_row_that_never_fits_names_the_option() -> None:
    budget = KVBudget(limit=1279, position=10, option="backend.memory")
    with pytest.raises(BackendError, match=r"`backend\.memory`"):
        budget.check(1)
    KVBudget(limit=1280, position=10).check(128)
