"""Which request gets which row, within the number of slots and the memory for keys and values.

When rows change places, or no longer share one, their keys and values are copied.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mentor_kit.backend.kv_budget import KVBudget, in_steps
from mentor_kit.backend.microbatching import same_beginning
from mentor_kit.backend.row_device import Array, RowDevice
from mentor_kit.backend.row_table import RowTable
from mentor_kit.backend.sampling import SampleRequest

#: Shorter prefixes are not worth a pass of their own.
SHORTEST_SHARED = 8
#: Shorter prefixes are copied to each row: attending to one range of keys is faster then.
SHORTEST_ATTACHED = 128


class RowAllocator:
    """Gives rows to requests by their sessions, and takes them from sessions that ended, or are idle for longest.

    Args:
        table: the rows.
        device: holds their keys and values.
        budget: for these.
        slots: rows at most.
        context: the longest context in tokens.
    """

    def __init__(self, table: RowTable, device: RowDevice[Any], budget: KVBudget, *, slots: int, context: int) -> None:
        self.budget = budget
        self._table = table
        self._device = device
        self._slots = slots
        self._context = context
        self._sessions: OrderedDict[str, int] = OrderedDict()
        """Row by session, least recently used first."""
        self._expected = 0
        """Tokens of the prefix that requests now waiting are expected to share, where memory is limited."""
        self._attaches = False
        """Whether that prefix will be attached."""

    @property
    def empty(self) -> bool:
        """Whether no session has a row."""
        return not self._sessions

    def check(self, request: SampleRequest) -> None:
        """Refuse a request whose row exceeds the memory even alone.

        Raises:
            BackendError: it does.
        """
        self.budget.check(self._length(request))

    def place(self, order: int, request: SampleRequest, prefix: Sequence[int]) -> bool:
        """Give a request a row, if there is one for it now.

        Args:
            order: its place in the order of submission.
            request: to place.
            prefix: the tokens of the prefix that the device holds.

        Returns:
            Whether it has a row now.
        """
        row = self._sessions.get(request.session)
        if row is not None and self._table.requests[row] is not None:  # the session's last request is not over
            return False
        if row is None and (row := self._free_row(request, prefix)) is None:
            return False
        if not self._fits(request, self._table.used, prefix):
            if request.session not in self._sessions:
                self._table.free(row)
            return False
        self._sessions[request.session] = row
        self._sessions.move_to_end(request.session)
        self._table.begin(row, request, order, self._context)
        return True

    def release(self, session: str) -> None:
        """Free the row of a session that ended. Unknown sessions are ignored."""
        row = self._sessions.get(session)
        if row is not None:
            # rows that share its keys and values get copies first, which may put rows elsewhere
            self._table.sampling[row] = False
            self.diverge()
            self._table.free(self._sessions.pop(session))

    def release_idle(self) -> None:
        """Free the rows of all sessions without a request."""
        for session, row in list(self._sessions.items()):
            if self._table.requests[row] is None:
                self.release(session)

    def cancel(self, request_id: str) -> None:
        """End a request that is being sampled."""
        self._table.cancel(request_id)
        self.diverge()

    def reserve(self, positions: int) -> None:
        """Make room on the device for all used rows, and for positions below `positions` in each."""
        device = self._device
        if device.keeps_rows:
            rows = max(device.rows, self.budget.rows(self._table.used))
            own = max(device.positions, in_steps(positions - device.attached))
            if (rows, own) != (device.rows, device.positions):
                device.reserve(rows, own)

    def reserve_admitted(self) -> None:
        """Make room for what the used rows hold, or for all they may become, which fits, as they were admitted.

        The latter on devices that decode within a limit: growing later copies all rows, and ends recordings of passes.
        """
        whole = self._device.decodes and self.budget.limit is not None
        self.reserve(self._table.longest_limit + 1 if whole else self._table.longest)

    def arrange(self) -> None:
        """Put the unique rows first, so that a pass reads one block."""
        source, target = self._table.arrangement()
        owned = ~self._table.vacant[source]
        self._copy(source[owned], target[owned])
        self._moved(source, target)

    def diverge(self) -> None:
        """Give keys and values of their own to shared rows that no longer have their owner's tokens."""
        rows, sources = self._table.diverged()
        if len(rows):
            moved = self._moved(*self._table.extension(rows[self._table.unique[rows]]))
            self._copy(moved[sources], moved[rows])

    def expect(self, requests: Iterable[SampleRequest]) -> None:
        """Leave room for the prefix that waiting requests have in common, where none is held yet."""
        device = self._device
        self._expected, self._attaches = 0, False
        if self.budget.limit is None or device.prefix_positions or not device.keeps_prefix:
            return
        contexts = [np.asarray(request.context[:-1]) for request in requests]
        found = same_beginning(contexts) if len(contexts) > 1 else 0
        if found >= SHORTEST_SHARED:
            self._expected = found
            self._attaches = self.would_attach(found) and not self._table.used

    def would_attach(self, length: int) -> bool:
        """Whether a prefix of `length` tokens is attached rather than copied, while no row holds anything."""
        return self._device.attends_prefix and self.attachable(length) >= SHORTEST_ATTACHED

    def attachable(self, length: int) -> int:
        """How many tokens of a prefix of `length` tokens are attached, where it is."""
        return length - length % self._device.attached_step

    def fits_prefix(self, length: int) -> bool:
        """Whether a prefix of `length` tokens fits beside the rows, as long as they may become, and is not attached."""
        device, longest = self._device, self._table.longest_limit + 1
        rows = max(self._table.used, device.rows)
        return self.budget.fits(rows, max(longest, device.positions), in_steps(length))

    def _copy(self, source: Array, target: Array) -> None:
        if self._device.keeps_rows and len(source):
            self.reserve(self._device.attached)
            self._device.copy(source, target, int(self._table.held[source].max()))

    def _moved(self, source: Array, target: Array) -> Array:
        """Move rows `source` to the places `target`; returns each row's place, (rows,)."""
        places = self._table.permute(source, target)
        if len(source):
            self._sessions = OrderedDict((session, int(places[row])) for session, row in self._sessions.items())
        return places

    def _free_row(self, request: SampleRequest, prefix: Sequence[int]) -> int | None:
        table = self._table
        more = table.used < self._slots and self._fits(request, table.used + 1, prefix)
        slots = self._slots if more else table.used
        if (row := table.take_free(slots)) is not None:
            return row
        idle = next((session for session, row in self._sessions.items() if table.requests[row] is None), None)
        if idle is None:
            return None
        self.release(idle)
        return table.take_free(slots)

    def _fits(self, request: SampleRequest, rows: int, prefix: Sequence[int]) -> bool:
        """Whether so many rows fit, all as long as the longest may become, this request's included."""
        device = self._device
        if self.budget.limit is None:
            return True
        expected = self._expected if rows > 1 else 0
        attached, held = device.attached, device.positions
        if not attached and self._attaches:
            attached = self.attachable(expected)
        if device.attached and list(request.context[:attached]) != list(prefix[:attached]):
            attached, held = 0, held + attached  # every row would get its own copy
        longest = max(self._length(request), self._table.longest_limit + 1) - attached
        # its buffer is longer than what is attached of it
        beside = max(device.prefix_positions, in_steps(expected))
        return self.budget.fits(max(rows, device.rows), max(longest, held), beside)

    def _length(self, request: SampleRequest) -> int:
        """Positions that a request's row may need."""
        return min(len(request.context) + request.max_new_tokens, self._context) + 1
