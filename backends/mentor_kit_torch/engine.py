"""Continuous batching: sequences of any length side by side, keys and values kept over an episode's turns.

Rows that so far say the same, as those of a group do for a while, are run once: one of them leads, the others ride and
draw from what it gives, until they say something else and get a copy of its keys and values
(`mentor_kit_torch.rows`). The rows of the cache that lead now come first, then the others, which ride, wait for their
episode's next turn, or are free. A step either prefills the rows that have new context, or draws one token for every
row that samples. Rows that finish run along, ignored, until a quarter of those that run is idle; then leading rows from
the end take their places.

Shared context is prefilled once: the beginning that all new sequences have in common (a system prompt with tools)
once for given weights, and each distinct prompt once for its group. A long common beginning is kept once and attended
to beside each row's own keys and values (`mentor_kit_torch.row_attention`); other keys and values are copied.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.microbatching import same_beginning
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.scheduler import Finished, RequestQueue
from mentor_kit.backend.validation import check_request
from mentor_kit.core.errors import BackendError
from mentor_kit.utils.randomness import uniforms
from mentor_kit_torch.cache import ROW_STEP, SlotCache
from mentor_kit_torch.cuda_graphs import RecordedDecoding, Recorder
from mentor_kit_torch.forward import ForwardPasses
from mentor_kit_torch.kv_budget import KVBudget
from mentor_kit_torch.lm_wrapper import LMWrapper
from mentor_kit_torch.rows import Array, RowTable
from mentor_kit_torch.sampling import SamplingParams, draw
from mentor_kit_torch.slot_allocator import SlotAllocator, worth_keeping

#: Beginnings shorter than this are not worth a pass of their own.
SHORTEST_SHARED = 8


class TorchEngine:
    """A `mentor_kit.backend.sampling.Engine` over a transformers model; see the module.

    Results depend on the requests alone, not on what was sampled before: when no session is held any more, it starts
    afresh, so that a resumed run goes on with the same bits.

    Args:
        head: the model.
        keeps: whether the model's keys and values can be kept in rows; else every step runs whole contexts.
        parts: whether the model can attend in parts, so that a common beginning need not be copied.
        slots: sequences held at once.
        context: the longest context in tokens.
        chunk: tokens of a row that are prefilled in one pass.
        budget: tokens of all rows that are prefilled in one pass.
        room: for keys and values.
        recorder: decoding passes are recorded by it, and replayed; needs `keeps`.
    """

    def __init__(
        self,
        head: LMWrapper,
        *,
        keeps: bool,
        parts: bool,
        slots: int,
        context: int,
        chunk: int,
        budget: int,
        room: KVBudget,
        recorder: Recorder | None = None,
    ) -> None:
        self.version = 0
        self._head = head
        self._keeps = keeps
        self._parts = parts
        self._context = context
        self._chunk = chunk
        self._budget = budget
        self._limited = room.limit is not None
        self._cache = SlotCache(head.layers, row_step=1 if self._limited else ROW_STEP)
        self._rows = RowTable()
        self._placing = SlotAllocator(self._rows, self._cache, room, slots=slots, context=context, parts=parts)
        self._queue = RequestQueue()
        """Requests without a row."""
        self._common: list[int] = []
        """The beginning whose keys and values are in `_common_cache`."""
        self._common_cache = SlotCache(head.layers, row_step=1)
        self._passes = ForwardPasses(head, self._common_cache, parts)
        self._recorded = None if recorder is None else RecordedDecoding(self._passes, self._cache, recorder)
        # float64, which the draw needs, is not on every device
        self._draws_on = torch.device("cpu") if head.device.type == "mps" else head.device

    @property
    def busy(self) -> bool:
        return self._queue.busy or self._rows.busy

    def submit(self, request: SampleRequest) -> None:
        check_request(request, vocabulary=self._head.vocabulary, context=self._context)
        self._placing.check(request)
        self._queue.add(request)

    def cancel(self, request_id: str) -> None:
        self._queue.cancel(request_id, self.version)
        self._placing.cancel(request_id)

    def release(self, session: str) -> None:
        self._placing.release(session)

    def drop(self, version: int) -> None:
        """Forget all keys and values: the weights are now those of `version`. Running requests take in anew."""
        self.version = version
        self._forget_common()
        self._rows.forget()
        self._placing.release_idle()

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        try:
            with self._head.meter.on("prefill"):
                self._admit()
                prefill = self._rows.prefill()
                if len(prefill):
                    self._prefill(prefill)
            if not len(prefill) and self._rows.sampling_count:
                with self._head.meter.on("decode"):
                    self._decode()
        except torch.OutOfMemoryError as error:
            raise BackendError(
                f"out of memory while sampling {self._rows.sampling_count} sequences at once",
                hint="lower `backend.slots` or `backend.token_budget`",
            ) from error
        return self._queue.due(self._completion(row) for row in self._rows.take_finished())

    def _admit(self) -> None:
        """Give rows to waiting requests, as far as there are slots."""
        if not self._queue:
            return
        if self._placing.empty:
            self._restart()
        expected = self._placing.expected_beginning(self._queue)
        before = len(self._queue)
        while self._queue and self._placing.place(*self._queue.first, self._common, expected):
            self._queue.pop()
        if len(self._queue) == before and not self._rows.busy:
            # idle sessions hold the room that the next request needs
            self._placing.release_idle()
            self._restart()
            self._placing.place(*self._queue.pop(), self._common, 0)
        if len(self._queue) < before:
            self._placing.arrange()
            self._share_common()
            self._cache.reserve(self._rows.used, self._rows.longest)

    def _restart(self) -> None:
        """Nobody holds a row."""
        self._rows.restart()
        self._forget_common()
        if self._limited:
            self._cache.drop()

    def _share_common(self) -> None:
        """Prefill the beginning that all fresh rows have in common once, for all to keep or to copy."""
        if self._cache.base:
            begun = self._rows.begun_with(self._common[: self._cache.base])
            self._rows.held[begun] = np.maximum(self._rows.held[begun], self._cache.base)
            if self._rows.least_held() < self._cache.base:
                self._cache.hold_all(self._common_cache)
        fresh = self._rows.fresh()
        if len(fresh) < 2 or not self._keeps:
            return
        common = self._rows.common_beginning(fresh)
        known = same_beginning([np.asarray(self._common), np.asarray(common)])
        if known < SHORTEST_SHARED <= len(common):
            self._run_common(common)
            known = len(common)
        if known < SHORTEST_SHARED:
            return
        if self._parts and worth_keeping(known) and not self._rows.longest_held:
            self._cache.base = known
        else:
            self._cache.reserve(self._rows.used, self._rows.longest)
            self._cache.take(self._common_cache, fresh, known)
        self._rows.held[fresh] = known

    def _forget_common(self) -> None:
        self._common = []
        self._cache.base = 0

    def _run_common(self, ids: list[int]) -> None:
        cache = self._common_cache
        if not cache.fits(len(ids)):
            cache.drop()
        cache.reserve(1, len(ids))
        for start in range(0, len(ids), self._chunk):
            part = torch.tensor([ids[start : start + self._chunk]], device=self._device)
            where = torch.arange(start, start + part.shape[1], device=self._device).unsqueeze(0)
            self._passes.run(cache, part, where, start + part.shape[1])
        self._common = ids

    def _prefill(self, rows: Array) -> None:
        """Take in the new context of rows, each distinct one once, and draw their first tokens."""
        leaders, twins = self._rows.distinct(rows)
        width = min(self._chunk, int((self._rows.known[leaders] - self._rows.held[leaders]).max()))
        count = max(1, self._budget // width)
        blocks = [leaders[start : start + count] for start in range(0, len(leaders), count)]
        logits = torch.cat([self._take_in(block) for block in blocks])
        followers = np.setdiff1d(rows, leaders)
        if len(followers):
            self._rows.ride(followers, np.array([twins[row] for row in followers]))
        self._sample(logits, np.searchsorted(leaders, self._rows.leader[rows]), rows)

    def _take_in(self, rows: Array) -> Tensor:
        """Logits (n, V) after the whole context of rows, which is prefilled in chunks."""
        logits: Tensor | None = None
        while True:
            counts = np.minimum(self._rows.known[rows] - self._rows.held[rows], self._chunk)
            if not counts.any():
                assert logits is not None  # every row had at least one token to take in
                return logits
            width = int(counts.max())
            start = self._rows.held[rows]
            ids = self._rows.window(rows, width)
            where = start[:, None] + np.arange(width)
            length = int((start + counts).max())
            self._cache.reserve(self._rows.used, int(where.max()) + 1)
            hidden = self._forward(self._tensor(ids), self._tensor(where), length, self._tensor(rows))
            last = self._tensor(np.maximum(counts - 1, 0))
            new = self._head.logits(hidden[torch.arange(len(rows), device=self._device), last])
            moved = self._tensor(counts > 0).unsqueeze(-1)
            logits = new if logits is None else torch.where(moved, new, logits)
            self._rows.held[rows] += counts

    def _decode(self) -> None:
        """One more token for every row that samples, of which those of the first zone lead.

        Rows of the zone that finished meanwhile run along, ignored.
        """
        if self._rows.scattered:
            self._placing.arrange()
        zone = self._rows.zone
        rows = np.arange(zone if self._recorded is None else self._recorded.rows(zone))
        where = self._rows.held[rows]
        length = int(where.max()) + 1
        self._cache.reserve(self._rows.used, length)
        ids, places = self._tensor(self._rows.window(rows, 1)), self._tensor(where[:, None])
        run = self._forward if self._recorded is None else self._recorded.run
        hidden = run(ids, places, length)[:zone]
        drawn = np.nonzero(self._rows.sampling)[0]
        self._rows.held[drawn] += 1
        self._sample(self._head.logits(hidden[:, -1]), self._rows.leader[drawn], drawn)

    def _forward(self, ids: Tensor, where: Tensor, length: int, chosen: Tensor | None = None) -> Tensor:
        """Hidden states (n, T, width) of tokens at positions `where` (n, T), of the `chosen` rows or the first n."""
        if self._keeps:
            return self._passes.run(self._cache, ids, where, length, chosen)
        rows = np.arange(len(where)) if chosen is None else chosen.cpu().numpy()
        whole = self._tensor(self._rows.tokens[rows, :length])
        hidden = self._head.hidden(whole, torch.arange(length, device=self._device).expand(whole.shape))
        inside = where.clamp(max=length - 1).unsqueeze(-1)
        return hidden.gather(1, inside.expand(-1, -1, hidden.shape[-1]))

    def _sample(self, logits: Tensor, places: Array, rows: Array) -> None:
        """Draw a token for each of the rows, from the logits (n, V) at its place."""
        state = self._rows
        if not np.array_equal(places, np.arange(len(logits))):
            logits = logits.index_select(0, self._tensor(places))

        def tensor(values: Array) -> Tensor:
            return torch.from_numpy(values).to(self._draws_on)

        how = SamplingParams(
            temperature=tensor(state.temperature[rows]),
            top_p=tensor(state.top_p[rows]),
            top_k=tensor(state.top_k[rows]),
            uniform=tensor(uniforms(state.seed[rows], state.known[rows])),
        )
        filtered = bool((state.top_p[rows] < 1).any() or (state.top_k[rows] > 0).any())
        greedy = bool((state.temperature[rows] == 0).any())
        tokens, log_probs = draw(logits.to(self._draws_on), how, filtered=filtered, greedy=greedy)
        state.add(rows, tokens.cpu().numpy(), log_probs.cpu().numpy())
        self._placing.part()

    def _completion(self, row: int) -> Finished:
        order = int(self._rows.order[row])
        request, ids, log_probs, finish = self._rows.end(row)
        return order, Completion(request.id, ids, log_probs, finish, self.version)

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    @property
    def _device(self) -> torch.device:
        return self._head.device
