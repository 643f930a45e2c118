"""Continuous batching: sequences of any length side by side, keys and values kept over an episode's turns.

The rows of the cache that sample now come first, then those that wait for their episode's next turn, and free ones.
A step either prefills the rows that have new context, or draws one token for every row that samples. Rows that finish
run along, ignored, until a quarter of them is idle; then sampling rows from the end take their places.

Shared context is prefilled once: the beginning that all new sequences have in common (a system prompt with tools)
once for given weights, and each distinct prompt once for its group. A long common beginning is kept once and attended
to beside each row's own keys and values (`mentor_kit_torch.row_attention`); other keys and values are copied.
"""

from __future__ import annotations

from collections import OrderedDict, deque

import numpy as np
import torch
from torch import Tensor

from mentor_kit.batching import same_beginning
from mentor_kit.errors import BackendError
from mentor_kit.inputs import check_request
from mentor_kit.policy import Completion, SampleRequest
from mentor_kit.randomness import uniforms
from mentor_kit_torch.cache import ROW_STEP, SlotCache, causal_mask
from mentor_kit_torch.head import Head
from mentor_kit_torch.room import Room
from mentor_kit_torch.row_attention import RowAttention
from mentor_kit_torch.rows import Array, Rows
from mentor_kit_torch.sampling import Draw, draw

#: Beginnings shorter than this are not worth a pass of their own.
SHORTEST_SHARED = 8
#: Shorter ones are copied to each row: attending in one part is faster then.
SHORTEST_KEPT = 128


class TorchEngine:
    """A `mentor_kit.policy.Engine` over a transformers model; see the module.

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
    """

    def __init__(
        self, head: Head, *, keeps: bool, parts: bool, slots: int, context: int, chunk: int, budget: int, room: Room
    ) -> None:
        self.version = 0
        self._head = head
        self._keeps = keeps
        self._parts = parts
        self._context = context
        self._slots = slots
        self._chunk = chunk
        self._budget = budget
        self._room = room
        self._cache = SlotCache(head.layers, row_step=ROW_STEP if room.limit is None else 1)
        self._rows = Rows()
        self._queue: deque[tuple[int, SampleRequest]] = deque()
        """Requests without a row, with their place in the order of submission."""
        self._finished: list[tuple[int, Completion]] = []
        self._sessions: OrderedDict[str, int] = OrderedDict()
        """Row by session, least recently used first."""
        self._common: list[int] = []
        """The beginning whose keys and values are in `_common_cache`."""
        self._common_cache = SlotCache(head.layers, row_step=1)
        self._submitted = 0
        # float64, which the draw needs, is not on every device
        self._draws_on = torch.device("cpu") if head.device.type == "mps" else head.device

    @property
    def busy(self) -> bool:
        return bool(self._queue or self._finished) or self._rows.busy

    def submit(self, request: SampleRequest) -> None:
        check_request(request, vocabulary=self._head.vocabulary, context=self._context)
        self._room.check(self._length(request))
        self._queue.append((self._submitted, request))
        self._submitted += 1

    def cancel(self, request_id: str) -> None:
        for order, request in self._queue:
            if request.id == request_id:
                self._finished.append((order, Completion(request.id, (), (), "cancelled", self.version)))
        self._queue = deque(item for item in self._queue if item[1].id != request_id)
        self._rows.cancel(request_id)

    def release(self, session: str) -> None:
        row = self._sessions.pop(session, None)
        if row is not None:
            self._rows.free(row)

    def drop(self, version: int) -> None:
        """Forget all keys and values: the weights are now those of `version`. Running requests take in anew."""
        self.version = version
        self._forget_common()
        self._rows.held[:] = 0
        for session, row in list(self._sessions.items()):
            if self._rows.requests[row] is None:
                self.release(session)

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
        finished = self._finished + [self._completion(row) for row in self._rows.take_finished()]
        self._finished = []
        return [completion for _, completion in sorted(finished, key=lambda item: item[0])]

    def _admit(self) -> None:
        """Give rows to waiting requests, as far as there are slots."""
        if not self._queue:
            return
        if not self._sessions:
            self._restart()
        expected = self._expected_beginning()
        before = len(self._queue)
        while self._queue and self._place(*self._queue[0], expected):
            self._queue.popleft()
        if len(self._queue) == before and not self._rows.busy:
            # idle sessions hold the room that the next request needs
            for session in list(self._sessions):
                self.release(session)
            self._restart()
            self._place(*self._queue.popleft(), 0)
        if len(self._queue) < before:
            self._arrange()
            self._share_common()
            self._cache.reserve(self._rows.used, self._rows.longest)

    def _restart(self) -> None:
        """Nobody holds a row."""
        self._rows.restart()
        self._forget_common()
        if self._room.limit is not None:
            self._cache.drop()

    def _place(self, order: int, request: SampleRequest, expected: int) -> bool:
        row = self._sessions.get(request.session)
        if row is not None and self._rows.requests[row] is not None:  # the session still speaks
            return False
        if row is None and (row := self._free_row(request, expected)) is None:
            return False
        if not self._fits(request, self._rows.used, expected):
            if request.session not in self._sessions:
                self._rows.free(row)
            return False
        self._sessions[request.session] = row
        self._sessions.move_to_end(request.session)
        self._rows.begin(row, request, order, self._context)
        return True

    def _free_row(self, request: SampleRequest, expected: int) -> int | None:
        more = self._rows.used < self._slots and self._fits(request, self._rows.used + 1, expected)
        slots = self._slots if more else self._rows.used
        if (row := self._rows.take_free(slots)) is not None:
            return row
        idle = next((s for s, row in self._sessions.items() if self._rows.requests[row] is None), None)
        if idle is None:
            return None
        self.release(idle)
        return self._rows.take_free(slots)

    def _fits(self, request: SampleRequest, rows: int, expected: int) -> bool:
        """Whether so many rows fit, all as long as the longest may become, this request's included."""
        if self._room.limit is None:
            return True
        base = self._cache.base or (expected if rows > 1 else 0)
        if self._cache.base and list(request.context[:base]) != self._common[:base]:
            base = 0  # every row would get its own copy
        longest = max(self._length(request), self._rows.longest_limit + 1)
        return self._room.fits(max(rows, self._cache.rows), max(longest - base, self._cache.room), base)

    def _expected_beginning(self) -> int:
        """How much of the waiting requests' contexts will be kept once, if nothing is held yet."""
        if self._room.limit is None or self._rows.used or not self._parts or len(self._queue) < 2:
            return 0
        contexts = [np.asarray(request.context[:-1]) for _, request in self._queue]
        found = same_beginning(contexts)
        return found if found >= SHORTEST_KEPT else 0

    def _length(self, request: SampleRequest) -> int:
        """Places that a request's row may need."""
        return min(len(request.context) + request.max_new_tokens, self._context) + 1

    def _arrange(self) -> None:
        """Put sampling rows first, so that a pass reads one block."""
        holes, strays = self._rows.arrangement()
        if not len(holes):
            return
        self._cache.reserve(self._rows.used, self._cache.base)
        source, target = np.concatenate([strays, holes]), np.concatenate([holes, strays])
        self._cache.copy(self._tensor(source), self._tensor(target), int(self._rows.held[source].max()))
        self._rows.permute(source, target)
        moved = dict(zip(source.tolist(), target.tolist(), strict=True))
        self._sessions = OrderedDict((session, moved.get(row, row)) for session, row in self._sessions.items())

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
        if self._parts and known >= SHORTEST_KEPT and not self._rows.longest_held:
            self._cache.base = known
        else:
            self._cache.reserve(self._rows.used, self._rows.longest)
            self._cache.take(self._common_cache, self._tensor(fresh), known)
        self._rows.held[fresh] = known

    def _forget_common(self) -> None:
        self._common = []
        self._cache.base = 0

    def _run_common(self, ids: list[int]) -> None:
        cache = self._common_cache
        cache.drop()
        cache.reserve(1, len(ids))
        for start in range(0, len(ids), self._chunk):
            part = torch.tensor([ids[start : start + self._chunk]], device=self._device)
            where = torch.arange(start, start + part.shape[1], device=self._device).unsqueeze(0)
            self._pass(cache, part, where, start + part.shape[1])
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
            sources = np.array([twins[row] for row in followers])
            self._cache.copy(self._tensor(sources), self._tensor(followers), int(self._rows.held[sources].max()))
            self._rows.held[followers] = self._rows.held[sources]
        place = {row: index for index, row in enumerate(leaders)}
        picked = self._tensor(np.array([place[twins[row]] for row in rows]))
        self._sample(logits[picked], rows)

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
        """One more token for every row of the first zone; rows that finished meanwhile run along, ignored."""
        if self._rows.idle_share > 0.25:
            self._arrange()
        rows = np.arange(self._rows.zone)
        where = self._rows.held[: self._rows.zone]
        length = int(where.max()) + 1
        self._cache.reserve(self._rows.used, length)
        ids = self._rows.window(rows, 1)
        hidden = self._forward(self._tensor(ids), self._tensor(where[:, None]), length)
        self._rows.held[: self._rows.zone] += self._rows.sampling[: self._rows.zone]
        self._sample(self._head.logits(hidden[:, -1]), rows)

    def _forward(self, ids: Tensor, where: Tensor, length: int, chosen: Tensor | None = None) -> Tensor:
        """Hidden states (n, T, width) of tokens at positions `where` (n, T), of the `chosen` rows or the first n."""
        if self._keeps:
            return self._pass(self._cache, ids, where, length, chosen)
        rows = np.arange(len(where)) if chosen is None else chosen.cpu().numpy()
        whole = self._tensor(self._rows.tokens[rows, :length])
        hidden = self._head.hidden(whole, torch.arange(length, device=self._device).expand(whole.shape))
        inside = where.clamp(max=length - 1).unsqueeze(-1)
        return hidden.gather(1, inside.expand(-1, -1, hidden.shape[-1]))

    def _pass(self, cache: SlotCache, ids: Tensor, where: Tensor, length: int, chosen: Tensor | None = None) -> Tensor:
        if cache.base:
            # rows that are nobody's run along at some place of theirs
            where, length = where.clamp(min=cache.base), max(length, cache.base + 1)
        cache.aim(where, length, chosen)
        keys = torch.arange(cache.base, length, device=self._device).unsqueeze(0)
        mask = self._head.mask(causal_mask(where, keys), where, keys)
        pairs = ids.numel() * length
        if not self._parts:
            return self._head.hidden(ids, where, mask=mask, cache=cache, pairs=pairs)
        plan = RowAttention(self._common_cache, cache.base, _common_start(where, cache.base))
        keys_read = _keys(ids, length, cache)
        return self._head.hidden(ids, where, mask=mask, cache=cache, plan=plan, pairs=pairs, keys=keys_read)

    def _sample(self, logits: Tensor, rows: Array) -> None:
        state = self._rows

        def tensor(values: Array) -> Tensor:
            return torch.from_numpy(values).to(self._draws_on)

        how = Draw(
            temperature=tensor(state.temperature[rows]),
            top_p=tensor(state.top_p[rows]),
            top_k=tensor(state.top_k[rows]),
            uniform=tensor(uniforms(state.seed[rows], state.known[rows])),
        )
        filtered = bool((state.top_p[rows] < 1).any() or (state.top_k[rows] > 0).any())
        greedy = bool((state.temperature[rows] == 0).any())
        tokens, log_probs = draw(logits.to(self._draws_on), how, filtered=filtered, greedy=greedy)
        state.add(rows, tokens.cpu().numpy(), log_probs.cpu().numpy())

    def _completion(self, row: int) -> tuple[int, Completion]:
        order = int(self._rows.order[row])
        request, ids, log_probs, finish = self._rows.end(row)
        return order, Completion(request.id, ids, log_probs, finish, self.version)

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    @property
    def _device(self) -> torch.device:
        return self._head.device


def _common_start(where: Tensor, base: int) -> int | None:
    """Where the rows' tokens, at places (n, T) that follow each other, begin behind `base`, if that is one place."""
    starts = where[:, 0]
    return int(starts[0]) - base if where.shape[1] > 1 and bool((starts == starts[0]).all()) else None


def _keys(ids: Tensor, length: int, cache: SlotCache) -> int:
    """Keys that are read: each row's own, and the common beginning's once."""
    return cache.base + len(ids) * (length - cache.base)
