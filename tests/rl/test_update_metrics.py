"""What several updates of a step saw, as one: worked examples, and a twin over single tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.rl.update_metrics import LossMetrics, over_updates

NOTHING = LossMetrics(loss=0.0, tokens=0, sequences=0)


def test_means_are_over_tokens_and_maxima_over_updates() -> None:
    few = LossMetrics(loss=1.0, tokens=1, sequences=1, values={"entropy": 4.0, "mismatch_max": 0.1})
    many = LossMetrics(loss=3.0, tokens=3, sequences=2, values={"entropy": 0.0, "mismatch_max": 0.3})
    found = over_updates([few, many])
    assert (found.loss, found.tokens, found.sequences) == (2.0, 4, 3)
    assert found.values == {"entropy": 1.0, "mismatch_max": 0.3}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_update_with_nothing_to_train_has_no_part_in_them(place: int) -> None:
    losses = [LossMetrics(loss=n, tokens=2, sequences=1, values={"ratio": n}) for n in (1.0, 2.0)]
    losses.insert(place, NOTHING)
    assert over_updates(losses) == over_updates([loss for loss in losses if loss.tokens])
    assert over_updates(losses).values == {"ratio": 1.5}


def test_where_nothing_was_trained_there_is_nothing_to_tell() -> None:
    assert over_updates([NOTHING, NOTHING]) == NOTHING


@given(st.lists(st.lists(st.floats(-5, 5), max_size=6), min_size=1, max_size=5))
def test_they_are_those_of_all_tokens_together(parts: list[list[float]]) -> None:
    losses = [
        LossMetrics(
            loss=float(np.mean(part)) if part else 0.0,
            tokens=len(part),
            sequences=min(len(part), 1),
            values={"kl": float(np.mean(part)), "mismatch_max": max(part)} if part else {},
        )
        for part in parts
    ]
    every = [value for part in parts for value in part]
    found = over_updates(losses)
    assert found.tokens == len(every)
    if every:
        assert found.values["kl"] == pytest.approx(np.mean(every), abs=1e-9)
        assert found.values["mismatch_max"] == max(every)
