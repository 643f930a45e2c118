"""Continuous batching: sequences of any length side by side, keys and values kept over an episode's turns.

mlx-lm's BatchGenerator cannot meet the contract: it drops the stop token, takes log-probabilities before the
temperature, does not say at which position a token is drawn, and pads on the left, so that a session's keys and values
move with its company. So this engine runs mlx-lm's models over a cache of its own (`mentor_kit_mlx.cache`).

The rows that sample now come first, then those that wait for their episode's next turn. A step either prefills the
rows that have new context, or draws one token for every row that samples. Rows that finish run along, ignored, until
a quarter of them is idle; then the rows that sample are moved together.

Shared context is prefilled once: a new row copies keys and values from the row that holds most of its context; if
none does, the beginning that all new rows have in common is run first; and rows with the same prompt are run as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.scheduler import RequestQueue
from mentor_kit.backend.validation import check_request
from mentor_kit.utils.randomness import uniforms
from mentor_kit_mlx.cache import RowCache
from mentor_kit_mlx.lm_wrapper import LMWrapper
from mentor_kit_mlx.memory import KVBudget
from mentor_kit_mlx.quantized import Quantized
from mentor_kit_mlx.rows import SHORTEST_SHARED, Row, common_beginning, distinct, donor
from mentor_kit_mlx.sampling import SamplingParams, draw


class MLXEngine:
    """A `mentor_kit.backend.sampling.Engine` over a model of mlx-lm; see the module.

    Results depend on the requests alone, not on what was sampled before: when no session is held any more, it starts
    afresh, so that a resumed run goes on with the same bits.

    Args:
        head: the model.
        keeps: whether the model's keys and values can be kept in rows; else every step runs whole contexts.
        slots: sequences held at once.
        context: the longest context in tokens.
        chunk: tokens of a row that are prefilled in one pass.
        budget: tokens of all rows that are prefilled in one pass.
        room: what keys and values may take.
        quantized: how they are kept; None for as they are.
    """

    def __init__(
        self,
        head: LMWrapper,
        *,
        keeps: bool,
        slots: int,
        context: int,
        chunk: int,
        budget: int,
        room: KVBudget,
        quantized: Quantized | None = None,
    ) -> None:
        self.version = 0
        self.room = room
        self._head = head
        self._keeps = keeps
        self._slots = slots
        self._context = context
        self._chunk = chunk
        self._budget = budget
        self._cache = RowCache(head.layers, quantized)
        self._rows: list[Row] = []
        """As they stand in the cache; released ones until the next arrangement."""
        self._queue = RequestQueue()
        """Requests without a row."""

    @property
    def busy(self) -> bool:
        return self._queue.busy or any(row.request is not None for row in self._rows)

    def check(self, request: SampleRequest) -> None:
        """Refuse what cannot be sampled.

        Raises:
            BackendError: it cannot.
        """
        check_request(request, vocabulary=self._head.vocabulary, context=self._context)
        self.room.check(f"request {request.id}", 1, self._longest(request))

    def submit(self, request: SampleRequest) -> None:
        self.check(request)
        self._queue.add(request)

    def cancel(self, request_id: str) -> None:
        self._queue.cancel(request_id, self.version)
        for row in self._rows:
            if row.sampling and row.request is not None and row.request.id == request_id:
                row.finish = "cancelled"

    def release(self, session: str) -> None:
        for row in self._rows:
            if row.session == session and not row.released:
                row.released, row.request, row.finish, row.held = True, None, None, 0

    def drop(self, version: int) -> None:
        """Forget all keys and values: the weights are now those of `version`. Running requests take in anew."""
        self.version = version
        for row in self._rows:
            row.held = 0
            row.released = row.released or row.request is None

    def step(self) -> list[Completion]:
        self._admit()
        prefill = [index for index, row in enumerate(self._rows) if row.prefills]
        if prefill:
            self._prefill(prefill)
        elif any(row.sampling for row in self._rows):
            self._decode()
        ended = [row for row in self._rows if row.finish is not None]
        return self._queue.due((row.order, row.end(self.version)) for row in ended)

    def _admit(self) -> None:
        """Give rows to waiting requests, as far as there is room."""
        if not self._queue:
            return
        if all(row.released for row in self._rows):
            self._rows = []
            self._cache.drop()
        new: list[Row] = []
        while self._queue and (row := self._place(*self._queue.first)) is not None:
            self._queue.pop()
            new.append(row)
        if new:
            self._arrange()
            self._share([index for index, row in enumerate(self._rows) if row in new and not row.held])

    def _place(self, order: int, request: SampleRequest) -> Row | None:
        row = next((row for row in self._rows if row.session == request.session and not row.released), None)
        if row is not None and row.request is not None:  # the session still speaks
            return None
        if not self._make_room(row, self._longest(request)):
            return None
        if row is None:
            self._rows.append(row := Row(request.session))
        row.begin(request, order, self._context)
        return row

    def _make_room(self, row: Row | None, length: int) -> bool:
        """Whether a row of `length` tokens, this one or a new one, fits; idle ones are given up for it."""
        while True:
            held = [other for other in self._rows if not other.released]
            count = len(held) + (row is None)
            longest = max([length, *(max(other.limit, other.known) for other in held)])
            if count <= self._slots and self.room.fits(count, longest):
                return True
            idle = [other for other in held if other.request is None and other is not row]
            if not idle:
                return False
            self.release(min(idle, key=lambda other: other.order).session)  # the one that spoke first

    def _arrange(self) -> None:
        """Put sampling rows first, so that a pass reads one block, and forget released ones."""
        alive = [index for index, row in enumerate(self._rows) if not row.released]
        order = sorted(alive, key=lambda index: not self._rows[index].sampling)
        if order != list(range(len(self._rows))):
            self._reorder(order)

    def _reorder(self, order: list[int]) -> None:
        self._cache.reserve(len(self._rows), self._cache.positions)
        self._cache.keep(order)
        self._rows = [self._rows[index] for index in order]

    def _share(self, fresh: list[int]) -> None:
        """Have new rows take over what other rows hold of their context, or run what they all begin with once."""
        if not fresh or not self._keeps:
            return
        left = [index for index in fresh if not self._take_over(index)]
        if len(left) < 2:
            return
        common = common_beginning([self._rows[index] for index in left])
        if common >= SHORTEST_SHARED and len(distinct([self._rows[index] for index in left])) > 1:
            first = left[0]
            self._take_in([first], common)
            self._cache.copy(first, left[1:], common)
            for index in left[1:]:
                self._rows[index].held = common

    def _take_over(self, index: int) -> bool:
        """Copy keys and values from the row that holds most of this one's context, if that is worth it."""
        source, shared = donor(self._rows[index], self._rows)
        if shared < SHORTEST_SHARED:
            return False
        self._reserve(shared)
        self._cache.copy(source, [index], shared)
        self._rows[index].held = shared
        return True

    def _prefill(self, indices: list[int]) -> None:
        """Take in the new context of rows, each distinct one once, and draw their first tokens."""
        rows = [self._rows[index] for index in indices]
        twins = {indices[a]: indices[b] for a, b in distinct(rows).items()}
        leaders = sorted(set(twins.values()))
        width = min(self._chunk, max(self._rows[index].known - self._rows[index].held for index in leaders))
        count = max(1, self._budget // width)
        blocks = [leaders[start : start + count] for start in range(0, len(leaders), count)]
        logits = mx.concatenate([self._take_in(block) for block in blocks])
        for leader in leaders:
            followers = [index for index in indices if twins[index] == leader and index != leader]
            if followers and self._keeps:
                self._cache.copy(leader, followers, self._rows[leader].held)
            for index in followers:
                self._rows[index].held = self._rows[leader].held
        place = {row: index for index, row in enumerate(leaders)}
        self._sample(logits[mx.array([place[twins[index]] for index in indices])], rows)

    def _take_in(self, indices: list[int], upto: int | None = None) -> mx.array:
        """Logits (n, V) after the context of rows, or its first `upto` tokens, which is prefilled in chunks."""
        rows = [self._rows[index] for index in indices]
        ends = np.array([row.known if upto is None else upto for row in rows])
        logits: mx.array | None = None
        while True:
            held = np.array([row.held for row in rows])
            counts = np.minimum(ends - held, self._chunk)
            if not counts.any():
                assert logits is not None  # every row had at least one token to take in
                return logits
            hidden = self._forward(indices, int(counts.max()))
            ending = (counts > 0) & (held + counts == ends)
            if self._keeps and not ending.any():
                # keys and values are all that is wanted: what the last layer makes of them is never computed
                self._cache.evaluate()
                for row, count in zip(rows, counts, strict=True):
                    row.held += int(count)
                continue
            last = mx.array(np.maximum(counts - 1, 0))
            new = self._head.logits(hidden[mx.arange(len(rows)), last])
            logits = new if logits is None else mx.where(mx.array(counts > 0)[:, None], new, logits)
            mx.eval(logits)
            for row, count in zip(rows, counts, strict=True):
                row.held += int(count)

    def _decode(self) -> None:
        """One more token for every row of the first zone; rows that finished meanwhile run along, ignored."""
        zone = max(index for index, row in enumerate(self._rows) if row.sampling) + 1
        if sum(row.sampling for row in self._rows[:zone]) < 0.75 * zone:
            self._arrange()
            zone = sum(row.sampling for row in self._rows)
        rows = self._rows[:zone]
        logits = self._head.logits(self._forward(list(range(zone)), 1)[:, -1])
        for row in rows:
            row.held += row.sampling
        self._sample(logits, rows)

    def _forward(self, indices: list[int], width: int) -> mx.array:
        """Hidden states (n, width, …) of the next tokens of rows; arbitrary ones beyond those that are known."""
        rows = [self._rows[index] for index in indices]
        if not self._keeps:
            return self._forward_whole(rows, width)
        held = np.array([row.held for row in rows])
        ids = np.zeros((len(rows), width), dtype=np.int64)
        for target, row in zip(ids, rows, strict=True):
            known = row.tokens[row.held : min(row.held + width, row.known)]
            target[: len(known)] = known
        length = int(held.max()) + width
        self._reserve(length)
        return self._head.hidden(mx.array(ids), self._cache.aim(held, width, length, indices))

    def _forward_whole(self, rows: Sequence[Row], width: int) -> mx.array:
        total = max(min(row.held + width, row.known) for row in rows)
        ids = np.zeros((len(rows), total), dtype=np.int64)
        for target, row in zip(ids, rows, strict=True):
            target[: min(row.known, total)] = row.context[:total]
        hidden = self._head.hidden(mx.array(ids))
        where = np.minimum(np.array([row.held for row in rows])[:, None] + np.arange(width), total - 1)
        return mx.take_along_axis(hidden, mx.array(where)[:, :, None], axis=1)

    def _reserve(self, length: int) -> None:
        self._cache.reserve(len(self._rows), length)

    def _sample(self, logits: mx.array, rows: Sequence[Row]) -> None:
        live = [index for index, row in enumerate(rows) if row.sampling]
        asked = [request for index in live if (request := rows[index].request) is not None]
        how = SamplingParams(
            temperature=np.array([request.temperature for request in asked], dtype=np.float32),
            top_p=np.array([request.top_p for request in asked], dtype=np.float32),
            top_k=np.array([request.top_k for request in asked], dtype=np.int64),
            uniform=uniforms(
                np.array([request.seed for request in asked], dtype=np.uint64),
                np.array([rows[index].known for index in live]),
            ),
        )
        tokens, log_probs = draw(logits if len(live) == len(rows) else logits[mx.array(live)], how)
        for index, token, log_prob in zip(live, tokens.tolist(), log_probs.tolist(), strict=True):
            rows[index].add(token, log_prob)

    def _longest(self, request: SampleRequest) -> int:
        return min(len(request.context) + request.max_new_tokens, self._context)
