"""The states of rows, over a layer that keeps every position and one that keeps the last token's state alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mentor_kit.backend.row_state import CutError, LayerState, RowStates


class Toy(LayerState):
    """A number for each position of each row, or one for each row."""

    def __init__(self, *, cuts: bool) -> None:
        self.cuts = cuts
        self.values = np.zeros((0, 0))

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def reserve(self, rows: int, positions: int) -> None:
        old_rows, old_positions = self.values.shape
        self.values = np.pad(self.values, ((0, rows - old_rows), (0, positions - old_positions)))

    def copy(self, other: Toy, source: Any, target: Any, length: int) -> None:
        kept = length if self.cuts else None
        self.values[target, :kept] = other.values[source, :kept].copy()

    def drop(self) -> None:
        self.values = np.zeros((0, 0))


def states(*cuts: bool) -> RowStates[Toy]:
    found = RowStates([Toy(cuts=one) for one in cuts])
    found.reserve(3, 8)
    for layer in found.layers:
        layer.values[:] = np.arange(24).reshape(3, 8)
    return found


def rows(*values: int) -> np.ndarray:
    return np.array(values)


def test_one_layer_that_cannot_be_cut_back_is_enough() -> None:
    assert states(True, True).cuts
    assert not states(True, False).cuts
    assert states().cuts


def test_rows_go_on_behind_their_last_token_or_begin_anew() -> None:
    found = states(True, False)
    found.advance(rows(0, 1), rows(0, 0), rows(3, 0))
    assert found.ends.tolist() == [3, 0, 0]
    found.advance(rows(0, 2), rows(3, 0), rows(2, 4))
    assert found.ends.tolist() == [5, 0, 4]
    # a row that takes in nothing may say what it likes
    found.advance(rows(0, 2), rows(1, 4), rows(0, 1))
    assert found.ends.tolist() == [5, 0, 5]
    with pytest.raises(CutError):
        found.advance(rows(0), rows(4), rows(1))
    found.advance(rows(0), rows(0), rows(2))
    assert found.ends.tolist() == [2, 0, 5]


def test_what_can_be_cut_back_goes_on_from_anywhere() -> None:
    found = states(True)
    found.advance(rows(0), rows(0), rows(5))
    found.advance(rows(0), rows(2), rows(1))
    assert found.ends.tolist() == [3, 0, 0]


def test_a_copy_is_as_of_the_tokens_that_were_asked_for() -> None:
    found = states(True)
    found.advance(rows(0, 1), rows(0, 0), rows(5, 2))
    found.copy(found, rows(0, 1), rows(1, 0), 3)
    # both are read before either is written
    assert found.layers[0].values[:2, :3].tolist() == [[8, 9, 10], [0, 1, 2]]
    assert found.layers[0].values[:2, 3:].tolist() == np.arange(16).reshape(2, 8)[:, 3:].tolist()
    assert found.ends.tolist() == [2, 3, 0]


def test_a_copy_as_of_an_earlier_token_is_refused() -> None:
    found, saved = states(True, False), states(True, False)
    found.advance(rows(0), rows(0), rows(5))
    saved.copy(found, rows(0), rows(2), 5)
    assert saved.ends.tolist() == [0, 0, 5]
    assert saved.layers[1].values[2].tolist() == list(range(8))
    with pytest.raises(CutError):
        saved.copy(found, rows(0), rows(1), 4)
    assert saved.ends.tolist() == [0, 0, 5]


def test_growing_keeps_and_dropping_frees() -> None:
    found = states(True, False)
    found.advance(rows(1), rows(0), rows(4))
    found.reserve(2, 16)
    assert (found.rows, found.positions, found.ends.tolist()) == (3, 16, [0, 4, 0])
    assert found.nbytes == 2 * 3 * 16 * 8
    assert found.layers[0].values[1, :8].tolist() == list(range(8, 16))
    found.drop()
    assert (found.rows, found.positions, found.nbytes) == (0, 0, 0)
