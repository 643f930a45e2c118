"""Continuous batching for any device: sequences of any length side by side, each kept over an episode's turns.

    submit ──> queue ──admit──> rows ──prefill──> first tokens ──decode, a token a step──> completions

A step either prefills the rows that have new context, or draws one token for every row that is sampled. Rows with the
same tokens so far, as those of a group have for a while, are run once (`mentor_kit.backend.row_table`). Rows that
finish run along, ignored, until a quarter of those that are run is idle; then other rows take their places. On a device
that decodes by itself the next pass is launched before a token is read (`mentor_kit.backend.lookahead`).

Context is prefilled once where it can be: what new rows have in common, or another row holds
(`mentor_kit.backend.shared_prefix`), each distinct prompt once for its group, and of a session's next turn what is new.

The device supplies passes, copies and draws (`mentor_kit.backend.row_device`); everything else is here, once for all
backends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mentor_kit.backend.kv_budget import KVBudget
from mentor_kit.backend.lookahead import Lookahead
from mentor_kit.backend.row_allocator import RowAllocator
from mentor_kit.backend.row_device import Array, DeviceMemoryError, RowDevice, RowPass, SamplingParams
from mentor_kit.backend.row_table import RowTable
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.scheduler import Finished, RequestQueue
from mentor_kit.backend.shared_prefix import SharedPrefix
from mentor_kit.backend.validation import check_request
from mentor_kit.core.errors import BackendError
from mentor_kit.utils.randomness import uniforms


class StepEngine:
    """A `mentor_kit.backend.sampling.Engine` over a device with rows; see the module.

    Results depend on the requests alone, not on what was sampled before: when no session is open any more, it starts
    afresh, so that a resumed run continues with the same bits.

    Args:
        device: the model, and what its layers keep.
        slots: sequences held at once.
        context: the longest context in tokens.
        chunk: tokens of a row that are prefilled in one pass.
        token_budget: tokens of all rows that are prefilled in one pass.
        budget: for keys and values.
    """

    def __init__(
        self, device: RowDevice[Any], *, slots: int, context: int, chunk: int, token_budget: int, budget: KVBudget
    ) -> None:
        self.version = 0
        """Of the weights."""
        self.device = device
        self.pass_tokens = token_budget
        """Tokens of all rows that are prefilled in one pass, at most."""
        self._context = context
        self._chunk = chunk
        self._table = RowTable(cuts=device.cuts_rows)
        self._allocator = RowAllocator(self._table, device, budget, slots=slots, context=context)
        self._prefix = SharedPrefix(self._table, device, self._allocator, chunk)
        self._lookahead = Lookahead(self._table, device, self._allocator)
        self._queue = RequestQueue()
        """Requests without a row."""

    @property
    def budget(self) -> KVBudget:
        """For keys and values; a smaller one holds from the next admission on."""
        return self._allocator.budget

    @budget.setter
    def budget(self, budget: KVBudget) -> None:
        self._allocator.budget = budget

    @property
    def busy(self) -> bool:
        return self._queue.busy or self._table.busy

    @property
    def used_rows(self) -> int:
        """How many rows are or were in use since the engine last started afresh."""
        return self._table.used

    def check(self, request: SampleRequest) -> None:
        """Refuse a request that cannot be sampled.

        Raises:
            BackendError: it does not fit the vocabulary, the context or, even alone, the memory there is.
        """
        check_request(request, vocabulary=self.device.vocabulary, context=self._context)
        self._allocator.check(request)

    def submit(self, request: SampleRequest) -> None:
        self.check(request)
        self._queue.add(request)

    def cancel(self, request_id: str) -> None:
        self._queue.cancel(request_id, self.version)
        self._allocator.cancel(request_id)

    def drawn(self, request_id: str) -> tuple[int, ...]:
        return self._table.drawn(request_id)

    def release(self, session: str) -> None:
        self._allocator.release(session)

    def drop(self, version: int) -> None:
        """Forget all keys and values: the weights are now those of `version`. Running requests are prefilled anew."""
        self.version = version
        self._prefix.forget()
        self._table.forget()
        self._allocator.release_idle()

    def make_room(self, kept: int) -> None:
        """Free all keys and values, for other work, where they take more than `kept` bytes.

        Running requests are prefilled anew.
        """
        if self.device.nbytes > kept:
            self.drop(self.version)
            self.device.free()

    def step(self) -> list[Completion]:
        try:
            with self.device.activity("prefill"):
                self._admit()
                rows = self._table.prefill()
                if len(rows):
                    self._prefill(rows)
            if not len(rows) and self._table.sampling_count:
                with self.device.activity("decode"):
                    self._decode()
        except DeviceMemoryError as error:
            raise BackendError(
                f"out of memory while sampling {self._table.sampling_count} sequences at once",
                hint="lower `backend.slots` or `backend.token_budget`",
            ) from error
        return self._queue.due(self._completion(row) for row in self._table.take_finished())

    def _admit(self) -> None:
        """Give rows to waiting requests, as far as there are slots and memory."""
        if not self._queue:
            return
        if self._allocator.empty:
            self._restart()
        placed = self._place_waiting()
        if not placed and not self._table.busy:
            # idle sessions hold the memory that the next request needs
            self._allocator.release_idle()
            self._restart()
            placed = self._place_waiting()
            if not placed:
                self.check(self._queue.first[1])
        if placed:
            self._allocator.arrange()
            self._prefix.hand_out()
            self._allocator.reserve_admitted()

    def _place_waiting(self) -> bool:
        """Whether any waiting request got a row; first come, first served."""
        waiting = len(self._queue)
        self._allocator.expect(self._queue)
        while self._queue and self._allocator.place(*self._queue.first, self._prefix.tokens):
            self._queue.pop()
        return len(self._queue) < waiting

    def _restart(self) -> None:
        """Start afresh: no session has a row."""
        self._table.restart()
        self._prefix.forget()
        if self.device.keeps_rows and self.budget.limit is not None:
            self.device.forget()

    def _prefill(self, rows: Array) -> None:
        """Take in the new context of rows, each distinct one once, and draw their first tokens."""
        unique, owners = self._table.distinct(rows)
        width = min(self._chunk, self.pass_tokens, int((self._table.known[unique] - self._table.held[unique]).max()))
        count = max(1, self.pass_tokens // width)
        for start in range(0, len(unique), count):
            self._take_in(unique[start : start + count], rows, owners)
        shared = owners != rows
        self._table.share(rows[shared], owners[shared])
        self._allocator.diverge()

    def _take_in(self, block: Array, rows: Array, owners: Array) -> None:
        """Take in the context of a block of rows in chunks, and draw tokens for all rows that these own."""
        table = self._table
        ends = table.known[block]
        while True:
            counts = np.minimum(ends - table.held[block], min(self._chunk, self.pass_tokens))
            if not counts.any():
                return
            ending = (counts > 0) & (table.held[block] + counts == ends)
            if ending.any():
                batch, last = self._pass(block, counts)
                logits = self.device.forward(batch, last)
            elif self.device.keeps_rows:
                self.device.fill(self._pass(block, counts)[0])
            table.held[block] += counts
            if ending.any():
                drawn = np.isin(owners, block[ending])
                self._draw(logits, np.searchsorted(block, owners[drawn]), rows[drawn])

    def _pass(self, rows: Array, counts: Array) -> tuple[RowPass, Array]:
        """A pass over the next `counts` tokens of some rows, and the column of each row's last one."""
        table = self._table
        start, width = table.held[rows], int(counts.max())
        length, last = int((start + counts).max()), np.maximum(counts - 1, 0)
        if not self.device.keeps_rows:
            return self._whole(rows, length), np.minimum(start + last, length - 1)
        positions = start[:, None] + np.arange(width)
        self._allocator.reserve(int(positions.max()) + 1)
        return RowPass(table.window(rows, width), positions, length, rows, counts), last

    def _decode(self) -> None:
        """Draw one more token for every row that is sampled, of which the unique ones are run.

        Active rows that finished meanwhile run along, ignored.
        """
        table = self._table
        if table.scattered:
            self._allocator.arrange()
        active = table.active
        rows = np.arange(self.device.pass_rows(active))
        drawn = np.nonzero(table.sampling)[0]
        if self.device.decodes:
            found = self._lookahead.decode(rows, drawn, waiting=bool(self._queue))
            table.held[drawn] += 1
            table.add(drawn, *found, self.version)
            self._allocator.diverge()
            return
        start = table.held[rows]
        length = int(start.max()) + 1
        if self.device.keeps_rows:
            self._allocator.reserve(length)
            counts = table.unique[rows].astype(np.int64)
            batch = RowPass(table.window(rows, 1), start[:, None], length, counts=counts)
            last = np.zeros(active, dtype=np.int64)
        else:
            batch, last = self._whole(rows, length), start[:active]
        logits = self.device.forward(batch, last)
        table.held[drawn] += 1
        self._draw(logits, table.owner[drawn], drawn)
        self._allocator.diverge()

    def _whole(self, rows: Array, length: int) -> RowPass:
        """A pass over rows from their beginnings."""
        positions = np.broadcast_to(np.arange(length), (len(rows), length))
        return RowPass(self._table.tokens[rows, :length], positions, length, rows)

    def _draw(self, logits: Any, places: Array, rows: Array) -> None:
        """Draw a token for each of the rows, from the logits at its place."""
        table = self._table
        params = SamplingParams(
            temperature=table.temperature[rows],
            top_p=table.top_p[rows],
            top_k=table.top_k[rows],
            uniform=uniforms(table.seed[rows], table.known[rows]),
        )
        table.add(rows, *self.device.draw(logits, places, params), self.version)

    def _completion(self, row: int) -> Finished:
        order, version = int(self._table.order[row]), int(self._table.version[row])
        request, ids, log_probs, finish = self._table.end(row)
        return order, Completion(request.id, ids, log_probs, finish, version if ids else self.version)
