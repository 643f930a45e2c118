"""Continuous batching: sequences of any length side by side, keys and values kept over an episode's turns.

The rows of the cache are in three zones: those that sample now come first, then idle ones that wait for their
episode's next turn, then free ones. A step either prefills the rows that have new context, or draws one token for
every row that samples. Rows that finish stay where they are, ignored, until a quarter of the zone is idle; then all
rows are put in order at once.

Shared context is prefilled once: the beginning that all new sequences have in common (a system prompt with tools)
once for given weights, and each distinct prompt once for its group; keys and values are then copied.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mentor_kit.errors import BackendError
from mentor_kit.policy import Completion, SampleRequest, uniforms
from mentor_kit_torch.cache import SlotCache, causal_mask
from mentor_kit_torch.head import Head
from mentor_kit_torch.rows import Array, Rows
from mentor_kit_torch.sampling import Draw, draw

#: Beginnings shorter than this are not worth a pass of their own.
SHORTEST_SHARED = 8


class TorchEngine:
    """A `mentor_kit.policy.Engine` over a transformers model; see the module.

    Args:
        head: the model.
        layers: how many layers it has.
        slots: sequences held at once.
        context: the longest context in tokens.
        chunk: tokens of a row that are prefilled in one pass.
    """

    def __init__(self, head: Head, *, layers: int, slots: int, context: int, chunk: int) -> None:
        self.version = 0
        self._head = head
        self._context = context
        self._slots = slots
        self._chunk = chunk
        self._cache = SlotCache(layers)
        self._rows = Rows()
        self._queue: deque[SampleRequest] = deque()
        self._sessions: OrderedDict[str, int] = OrderedDict()
        """Row by session, least recently used first."""
        self._common: list[int] = []
        """The beginning whose keys and values are kept in `_common_row`'s copy."""
        self._common_cache = SlotCache(layers)
        self._order = 0

    @property
    def busy(self) -> bool:
        return bool(self._queue) or self._rows.sampling_count > 0

    def submit(self, request: SampleRequest) -> None:
        if not len(request.context):
            raise BackendError(f"request {request.id} has no context")
        if len(request.context) + 1 > self._context:
            raise BackendError(
                f"request {request.id}: {len(request.context)} tokens of context leave no room to speak in a "
                f"context of {self._context}",
                hint="shorten the prompt, or raise `backend.max_context` if the model allows it",
            )
        self._queue.append(request)

    def cancel(self, request_id: str) -> None:
        for request in self._queue:
            if request.id == request_id:
                self._rows.cancelled.append(request)
        self._queue = deque(request for request in self._queue if request.id != request_id)
        self._rows.cancel(request_id)

    def release(self, session: str) -> None:
        row = self._sessions.pop(session, None)
        if row is not None:
            self._rows.free(row)

    def drop(self, version: int) -> None:
        """Forget all keys and values: the weights are now those of `version`."""
        self.version = version
        self._sessions.clear()
        self._common = []
        self._rows.clear()

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        finished = [
            Completion(request.id, (), (), "cancelled", self.version) for request in self._rows.take_cancelled()
        ]
        self._admit()
        prefill = self._rows.prefill()
        if len(prefill):
            self._prefill(prefill)
        elif self._rows.sampling_count:
            self._decode()
        return finished + [self._completion(row) for row in self._rows.take_finished()]

    def _admit(self) -> None:
        """Give rows to waiting requests, as far as there are slots."""
        if not self._queue:
            return
        placed: list[int] = []
        while self._queue:
            row = self._place(self._queue[0])
            if row is None:
                break
            placed.append(row)
            self._queue.popleft()
        if not placed:
            return
        self._arrange()
        self._cache.reserve(self._rows.used, self._rows.longest)
        self._share_common()

    def _place(self, request: SampleRequest) -> int | None:
        row = self._sessions.get(request.session)
        if row is None:
            row = self._free_row()
            if row is None:
                return None
            self._sessions[request.session] = row
        self._sessions.move_to_end(request.session)
        self._rows.begin(row, request, self._order, self._context)
        self._order += 1
        return row

    def _free_row(self) -> int | None:
        if (row := self._rows.take_free(self._slots)) is not None:
            return row
        for session, row in self._sessions.items():
            if not self._rows.sampling[row]:
                del self._sessions[session]
                return row
        return None

    def _arrange(self) -> None:
        """Put sampling rows first, in the order of submission, so that a pass reads one block."""
        order = self._rows.arrangement()
        if order is None:
            return
        self._cache.reorder(self._tensor(order), self._rows.longest_held)
        moved = self._rows.permute(order)
        self._sessions = OrderedDict((session, moved[row]) for session, row in self._sessions.items())

    def _share_common(self) -> None:
        """Prefill the beginning that all fresh rows have in common once, and copy it to them."""
        fresh = self._rows.fresh()
        if len(fresh) < 2:
            return
        common = self._rows.common_beginning(fresh)
        known = _same(self._common, common)
        if known < SHORTEST_SHARED <= len(common):
            self._run_common(common)
            known = len(common)
        if known >= SHORTEST_SHARED:
            self._cache.take(self._common_cache, self._tensor(fresh), known)
            self._rows.held[fresh] = known

    def _run_common(self, ids: list[int]) -> None:
        cache = self._common_cache
        cache.drop()
        cache.reserve(1, len(ids))
        for start in range(0, len(ids), self._chunk):
            part = torch.tensor([ids[start : start + self._chunk]], device=self._device)
            where = torch.arange(start, start + part.shape[1], device=self._device).unsqueeze(0)
            self._forward(cache, part, where, start + part.shape[1])
        self._common = ids

    def _prefill(self, rows: Array) -> None:
        """Take in the new context of rows, each distinct one once, and draw their first tokens."""
        leaders, twins = self._rows.distinct(rows)
        logits = self._take_in(leaders)
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
            hidden = self._forward(self._cache, self._tensor(ids), self._tensor(where), length, self._tensor(rows))
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
        hidden = self._forward(self._cache, self._tensor(ids), self._tensor(where[:, None]), length)
        self._rows.held[: self._rows.zone] += self._rows.sampling[: self._rows.zone]
        self._sample(self._head.logits(hidden[:, -1]), rows)

    def _forward(
        self, cache: SlotCache, ids: Tensor, where: Tensor, length: int, chosen: Tensor | None = None
    ) -> Tensor:
        cache.aim(where, length, chosen)
        return self._head.hidden(
            input_ids=ids,
            position_ids=where,
            attention_mask=self._head.mask(causal_mask(where, length)),
            cache=cache,
        )

    def _sample(self, logits: Tensor, rows: Array) -> None:
        state = self._rows
        how = Draw(
            temperature=self._tensor(state.temperature[rows]),
            top_p=self._tensor(state.top_p[rows]),
            top_k=self._tensor(state.top_k[rows]),
            uniform=self._tensor(uniforms(state.seed[rows], state.known[rows])),
        )
        filtered = bool((state.top_p[rows] < 1).any() or (state.top_k[rows] > 0).any())
        tokens, log_probs = draw(logits, how, filtered=filtered)
        state.add(rows, tokens.cpu().numpy(), log_probs.cpu().numpy())

    def _completion(self, row: int) -> Completion:
        request, ids, log_probs, finish = self._rows.end(row)
        return Completion(request.id, ids, log_probs, finish, self.version)

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    @property
    def _device(self) -> torch.device:
        return self._head.device


def _same(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of the common beginning."""
    count = min(len(first), len(second))
    differ = np.nonzero(np.asarray(first[:count]) != np.asarray(second[:count]))[0]
    return int(differ[0]) if len(differ) else count
