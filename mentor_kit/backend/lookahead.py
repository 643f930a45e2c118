"""Decoding one pass ahead of the tokens that are read.

    launch 1 ──> launch 2 ──> read 1 ──> launch 3 ──> read 2 ──> launch 4 ──> …

A device that decodes by itself (`RowDevice.decodes`) needs no token to launch the next pass: its rows take in what was
drawn there. So it computes while tokens are read and requests end. What they change is seen a pass late:

- a sequence that ended is run once more, and what it drew is dropped;
- where other rows are to be run (requests were placed or cancelled, rows no longer share keys and values, or too many
  of them are idle) the pass that was launched is dropped as a whole, and the device is given the rows anew.

Passes whose tokens are used are those that an engine without it runs, of the same rows in the same order. So results
are the same to the bit. What a dropped pass wrote lies behind what rows hold, and has no meaning.

A pass is launched ahead where the last one changed nothing, and this one is not known to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mentor_kit.backend.row_allocator import RowAllocator
from mentor_kit.backend.row_device import Array, DecodingRows, DrawSettings, ReadTokens, RowDevice
from mentor_kit.backend.row_table import RowTable


@dataclass(frozen=True)
class _Begun:
    """What the device was given."""

    rows: int
    drawn: Array
    """(m,): the rows of the sequences."""
    kinds: tuple[bool, bool]
    """Whether any of them is filtered, and greedy."""
    changes: int
    """`RowTable.changes` then."""


class Lookahead:
    """Decodes rows of a table; see the module.

    Args:
        table: the rows.
        device: decodes.
        allocator: makes room for positions.
    """

    def __init__(self, table: RowTable, device: RowDevice[Any], allocator: RowAllocator) -> None:
        self._table = table
        self._device = device
        self._allocator = allocator
        self._begun: _Begun | None = None
        self._positions = np.zeros(0, dtype=np.int64)
        """Of the begun rows in the pass that is read next."""
        self._ahead: ReadTokens | None = None
        """Reads the pass at these positions, where it was launched."""
        self._changes = -1
        """`RowTable.changes` in the last pass."""

    def decode(self, rows: Array, drawn: Array, *, waiting: bool) -> tuple[Array, Array]:
        """Tokens (k,) and log-probabilities (k,) of sequences' next tokens.

        Args:
            rows: the first n, which are run.
            drawn: (k,), ascending: the rows of the sequences.
            waiting: whether requests wait for rows.
        """
        table = self._table
        begun = self._valid(rows, drawn)
        if begun is None:
            begun, self._ahead = self._begin(rows, drawn), None
        read = self._ahead or self._launch(self._positions)
        steady, self._changes = table.changes == self._changes, table.changes
        self._positions = self._positions + np.isin(rows, drawn)
        self._ahead = None
        if steady and not self._will_change(drawn, waiting):
            self._ahead = self._launch(self._positions)
        kept = np.isin(begun.drawn, drawn)
        tokens, log_probs = read()
        return tokens[kept], log_probs[kept]

    def _valid(self, rows: Array, drawn: Array) -> _Begun | None:
        """What the device goes on with, if that is what is wanted."""
        begun = self._begun
        if begun is None or (begun.changes, begun.rows) != (self._table.changes, len(rows)):
            return None
        same = np.array_equal(self._positions, self._table.held[rows]) and begun.kinds == _kinds(self._settings(drawn))
        return begun if same else None

    def _begin(self, rows: Array, drawn: Array) -> _Begun:
        table, settings = self._table, self._settings(drawn)
        feeds = np.full(len(rows), -1)
        run = drawn < len(rows)
        feeds[drawn[run]] = np.nonzero(run)[0]
        self._positions = table.held[rows]
        requests = [table.requests[row] for row in drawn.tolist()]
        self._device.begin_decoding(
            DecodingRows(
                ids=table.window(rows, 1)[:, 0],
                positions=self._positions,
                places=table.owner[drawn],
                feeds=feeds,
                settings=settings,
                seeds=table.seed[drawn],
                known=table.known[drawn],
                limits=table.limit[drawn],
                stops=[frozenset() if request is None else request.stop_ids for request in requests],
            )
        )
        self._begun = _Begun(len(rows), drawn, _kinds(settings), table.changes)
        return self._begun

    def _launch(self, positions: Array) -> ReadTokens:
        length = int(positions.max()) + 1
        self._allocator.reserve(length)
        return self._device.decode(length)

    def _will_change(self, drawn: Array, waiting: bool) -> bool:
        """Whether the tokens that are drawn now are known to change which rows are run."""
        table = self._table
        ends = table.known[drawn] + 1 >= table.limit[drawn]
        if not ends.any():
            return False
        going = table.unique
        going[drawn[ends]] = False
        shared = len(drawn) > int(table.unique.sum())
        return waiting or shared or int(going.sum()) < max(0.75 * table.active, 1)

    def _settings(self, drawn: Array) -> DrawSettings:
        table = self._table
        return DrawSettings(table.temperature[drawn], table.top_p[drawn], table.top_k[drawn])


def _kinds(settings: DrawSettings) -> tuple[bool, bool]:
    return settings.filtered, settings.greedy
