"""The contract of what a model's layers keep of the sequences in rows, layer by layer.

| layer | keeps of a row | can be cut back |
| --- | --- | --- |
| attention | keys and values of every position | to any position |
| attention with a window | the same, or the latest positions alone | to any position, or not |
| recurrence, convolution | arrays of fixed size, as of the last token | not |
| attention to the keys of another layer | nothing | as that layer |

A backend implements a `LayerState` for each kind, and holds one for each layer in `RowStates`, which knows of how many
tokens the state of each row is:

    save           copy a row to a row of other states, such as those of the prefix that is kept beside the rows
    copy           to another row, with everything that follows it
    cut back       take in tokens from an earlier position on, which replaces what is held behind it
    refuse         `CutError`: a layer holds the state as of a later token, and that alone

What cannot be cut back is prefilled anew, from the last place that is held (`RowDevice.cuts_rows`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class CutError(Exception):
    """A state was asked for as of an earlier token than it is of, and it cannot be cut back."""


class LayerState(ABC):
    """What one layer keeps of all rows."""

    cuts: bool = True
    """Whether a row's state as of an earlier token can be had from it."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that are allocated."""

    @abstractmethod
    def reserve(self, rows: int, positions: int) -> None:
        """Grow to so many rows of so many positions; what is held is kept."""

    @abstractmethod
    def copy(self, other: Any, source: Array, target: Array, length: int) -> None:
        """Copy rows `source` (n,) of a state of the same kind, maybe this one, to rows `target` (n,).

        All are read before any is written.

        Args:
            other: the state to read.
            source: rows of it.
            target: rows of this one.
            length: positions to copy, where there is something for each.
        """

    @abstractmethod
    def drop(self) -> None:
        """Free everything."""


Layer = TypeVar("Layer", bound=LayerState)


class RowStates(Generic[Layer]):
    """The states of all layers, in rows.

    Args:
        layers: those that keep something, in the model's order.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.cuts = all(layer.cuts for layer in self.layers)
        """Whether all of them can be cut back."""
        self.positions = 0
        """Positions that each row has."""
        self.ends = np.zeros(0, dtype=np.int64)
        """(rows,): how many tokens each row's state is of."""

    @property
    def rows(self) -> int:
        """Rows that are allocated."""
        return len(self.ends)

    @property
    def nbytes(self) -> int:
        """Bytes that are allocated."""
        return sum(layer.nbytes for layer in self.layers)

    def reserve(self, rows: int, positions: int) -> None:
        """Grow to so many rows of so many positions; what is held is kept."""
        rows, positions = max(self.rows, rows), max(self.positions, positions)
        if (rows, positions) != (self.rows, self.positions):
            for layer in self.layers:
                layer.reserve(rows, positions)
            self.ends = np.pad(self.ends, (0, rows - self.rows))
            self.positions = positions

    def advance(self, rows: Array, start: Array, counts: Array) -> None:
        """Note that rows (n,) take in `counts` (n,) tokens each, from positions `start` (n,) on.

        Rows that take in none are left alone. From position 0 a row begins anew.

        Raises:
            CutError: a row is of more tokens than it starts behind.
        """
        taking = counts > 0
        rows, start = rows[taking], start[taking]
        if not self.cuts and ((start > 0) & (start != self.ends[rows])).any():
            raise CutError(f"rows are continued behind {start} tokens, and their states are of {self.ends[rows]}")
        self.ends[rows] = start + counts[taking]

    def copy(self, other: RowStates[Layer], source: Array, target: Array, length: int) -> None:
        """Copy rows `source` (n,) of states, maybe these, to rows `target` (n,), as of `length` tokens at most.

        All are read before any is written.

        Raises:
            CutError: a row is of more tokens.
        """
        ends = other.ends[source]
        if not self.cuts and (ends > length).any():
            raise CutError(f"rows are copied as of {length} tokens, and their states are of {ends}")
        for layer, given in zip(self.layers, other.layers, strict=True):
            layer.copy(given, source, target, length)
        self.ends[target] = np.minimum(ends, length)

    def drop(self) -> None:
        """Free everything."""
        for layer in self.layers:
            layer.drop()
        self.ends, self.positions = self.ends[:0], 0
