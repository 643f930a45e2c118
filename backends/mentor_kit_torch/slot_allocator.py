"""Who gets which row: requests by their sessions, within the slots there are and the room for keys and values.

When rows change places, or no longer share one, their keys and values are copied.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
import torch

from mentor_kit.backend.microbatching import same_beginning
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit_torch.cache import SlotCache
from mentor_kit_torch.kv_budget import KVBudget
from mentor_kit_torch.rows import Array, RowTable

#: Shorter beginnings are copied to each row: attending in one part is faster then.
SHORTEST_KEPT = 128


def worth_keeping(length: int) -> bool:
    """Whether a beginning of so many tokens should be kept once for all rows, rather than copied to each."""
    return length >= SHORTEST_KEPT


class SlotAllocator:
    """Gives rows to requests, and takes them from sessions that are over, or idle for longest.

    Args:
        rows: to give.
        cache: the rows' keys and values.
        room: for these.
        slots: rows at most.
        context: the longest context in tokens.
        parts: whether a beginning can be kept once for all rows.
    """

    def __init__(
        self, rows: RowTable, cache: SlotCache, room: KVBudget, *, slots: int, context: int, parts: bool
    ) -> None:
        self._rows = rows
        self._cache = cache
        self._room = room
        self._slots = slots
        self._context = context
        self._parts = parts
        self._sessions: OrderedDict[str, int] = OrderedDict()
        """Row by session, least recently used first."""

    @property
    def empty(self) -> bool:
        """Whether nobody holds a row."""
        return not self._sessions

    def check(self, request: SampleRequest) -> None:
        """Refuse a request that finds no room even alone.

        Raises:
            BackendError: it does not.
        """
        self._room.check(self._length(request))

    def place(self, order: int, request: SampleRequest, common: list[int], expected: int) -> bool:
        """Give a request a row, if there is one for it now.

        Args:
            order: its place in the order of submission.
            request: to place.
            common: the beginning that is kept once.
            expected: tokens that will be kept once, if nothing is yet.
        """
        row = self._sessions.get(request.session)
        if row is not None and self._rows.requests[row] is not None:  # the session still speaks
            return False
        if row is None and (row := self._free_row(request, common, expected)) is None:
            return False
        if not self._fits(request, self._rows.used, common, expected):
            if request.session not in self._sessions:
                self._rows.free(row)
            return False
        self._sessions[request.session] = row
        self._sessions.move_to_end(request.session)
        self._rows.begin(row, request, order, self._context)
        return True

    def release(self, session: str) -> None:
        """A session is over: its row is free."""
        row = self._sessions.get(session)
        if row is not None:
            # those that ride with it part first, which may put rows elsewhere
            self._rows.sampling[row] = False
            self.part()
            self._rows.free(self._sessions.pop(session))

    def release_idle(self) -> None:
        """Forget all sessions that nothing is sampled for."""
        for session, row in list(self._sessions.items()):
            if self._rows.requests[row] is None:
                self.release(session)

    def cancel(self, request_id: str) -> None:
        """End a request that is being sampled."""
        self._rows.cancel(request_id)
        self.part()

    def arrange(self) -> None:
        """Put the rows that lead first, so that a pass reads one block."""
        source, target = self._rows.arrangement()
        owned = ~self._rows.hollow[source]
        self._copy(source[owned], target[owned])
        self._moved(source, target)

    def part(self) -> None:
        """Give rows keys and values of their own that no longer say what the row they ride with says."""
        rows, sources = self._rows.parted()
        if not len(rows):
            return
        moved = self._moved(*self._rows.extension(rows[self._rows.leads[rows]]))
        self._copy(moved[sources], moved[rows])

    @torch.inference_mode()
    def _copy(self, source: Array, target: Array) -> None:
        self._cache.reserve(self._rows.used, self._cache.base)
        self._cache.copy(source, target, int(self._rows.held[source].max(initial=0)))

    def _moved(self, source: Array, target: Array) -> Array:
        """Rows `target` become what rows `source` were; where each of all rows is then."""
        places = self._rows.permute(source, target)
        if len(source):
            self._sessions = OrderedDict((session, int(places[row])) for session, row in self._sessions.items())
        return places

    def expected_beginning(self, requests: Iterable[SampleRequest]) -> int:
        """How much of waiting requests' contexts will be kept once, if nothing is held yet."""
        if self._room.limit is None or self._rows.used or not self._parts:
            return 0
        contexts = [np.asarray(request.context[:-1]) for request in requests]
        found = same_beginning(contexts) if len(contexts) > 1 else 0
        return found if worth_keeping(found) else 0

    def _free_row(self, request: SampleRequest, common: list[int], expected: int) -> int | None:
        more = self._rows.used < self._slots and self._fits(request, self._rows.used + 1, common, expected)
        slots = self._slots if more else self._rows.used
        if (row := self._rows.take_free(slots)) is not None:
            return row
        idle = next((s for s, row in self._sessions.items() if self._rows.requests[row] is None), None)
        if idle is None:
            return None
        self.release(idle)
        return self._rows.take_free(slots)

    def _fits(self, request: SampleRequest, rows: int, common: list[int], expected: int) -> bool:
        """Whether so many rows fit, all as long as the longest may become, this request's included."""
        if self._room.limit is None:
            return True
        base = self._cache.base or (expected if rows > 1 else 0)
        if self._cache.base and list(request.context[:base]) != common[:base]:
            base = 0  # every row would get its own copy
        longest = max(self._length(request), self._rows.longest_limit + 1)
        return self._room.fits(max(rows, self._cache.rows), max(longest - base, self._cache.room), base)

    def _length(self, request: SampleRequest) -> int:
        """Places that a request's row may need."""
        return min(len(request.context) + request.max_new_tokens, self._context) + 1
