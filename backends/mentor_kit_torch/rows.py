"""The engine's bookkeeping: what every row of the cache holds and samples, in arrays rather than objects."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.sampling import SampleRequest

Array = NDArray[Any]
Finish = Literal["stop", "length", "cancelled"]
FINISH: tuple[Finish, ...] = ("stop", "length", "cancelled")


class RowTable:
    """The first `zone` rows lead, or did until lately; behind them are riders, idle and free ones.

    Per row: `known` tokens (context and sampled), of which the cache holds the first `held`.

    Rows that sample and so far say the same need keys and values once: one leads, and is run; the others ride, and
    draw from what it gave. What lies in a rider's own place in the cache means nothing.
    """

    def __init__(self) -> None:
        self.used = 0
        self.zone = 0
        self._free: list[int] = []
        self._stop_somewhere = np.zeros(1, dtype=bool)
        """By token: those that are stop tokens of any request so far; the last one stands for all behind it."""
        self._allocate(0, 0)

    def _allocate(self, rows: int, width: int) -> None:
        self.tokens = np.zeros((rows, width), dtype=np.int64)
        self.log_probs = np.zeros((rows, width), dtype=np.float32)
        self.known = np.zeros(rows, dtype=np.int64)
        self.held = np.zeros(rows, dtype=np.int64)
        self.start = np.zeros(rows, dtype=np.int64)
        self.limit = np.zeros(rows, dtype=np.int64)
        self.order = np.zeros(rows, dtype=np.int64)
        self.seed = np.zeros(rows, dtype=np.uint64)
        self.temperature = np.ones(rows, dtype=np.float32)
        self.top_p = np.ones(rows, dtype=np.float32)
        self.top_k = np.zeros(rows, dtype=np.int64)
        self.sampling = np.zeros(rows, dtype=bool)
        self.leader = np.arange(rows)
        """The row in whose place the cache holds a row's keys and values: itself, but for riders."""
        self.ended = np.zeros(rows, dtype=np.int64)
        """How a request ended whose completion was not taken yet: 1 + an index of `FINISH`; else 0."""
        self.requests: list[SampleRequest | None] = [None] * rows

    _ARRAYS = (
        *("tokens", "log_probs", "known", "held", "start", "limit", "order", "seed"),
        *("temperature", "top_p", "top_k", "sampling", "ended", "leader"),
    )

    @property
    def busy(self) -> bool:
        """Whether any request samples, or ended and was not taken yet."""
        return bool(self.sampling.any() or self.ended.any())

    @property
    def sampling_count(self) -> int:
        """How many rows sample now."""
        return int(self.sampling.sum())

    @property
    def leads(self) -> Array:
        """(rows,) booleans: those that sample from their own keys and values."""
        return np.asarray(self.sampling & (self.leader == np.arange(len(self.leader))))

    @property
    def scattered(self) -> bool:
        """Whether a row that leads is behind the zone, or more than a quarter of the zone leads no more."""
        leads = self.leads
        return bool(leads[self.zone :].any() or leads[: self.zone].sum() < 0.75 * self.zone)

    @property
    def hollow(self) -> Array:
        """(rows,) booleans: those in whose own place the cache holds nothing."""
        return np.asarray((self.held == 0) | (self.leader != np.arange(len(self.leader))))

    @property
    def longest(self) -> int:
        """The most tokens a used row may come to know in its present request."""
        return int(self.known[: self.used].max(initial=0)) + 1

    @property
    def longest_limit(self) -> int:
        """The most tokens a used row may come to know."""
        return int(np.maximum(self.known, self.limit)[: self.used].max(initial=0))

    @property
    def longest_held(self) -> int:
        """The most tokens the cache holds of any used row."""
        return int(self.held[: self.used].max(initial=0))

    def take_free(self, slots: int) -> int | None:
        """A free row, or None when `slots` are used."""
        if self._free:
            return self._free.pop()
        if self.used == slots:
            return None
        self.used += 1
        self._grow(self.used, self.tokens.shape[1])
        return self.used - 1

    def begin(self, row: int, request: SampleRequest, order: int, context: int) -> None:
        """Sample a request in a row; what the row holds of the request's context is kept."""
        count = len(request.context)
        limit = min(count + request.max_new_tokens, context)
        self._grow(self.used, limit + 1)
        ids = np.asarray(request.context, dtype=np.int64)
        held = min(int(self.held[row]), count - 1)
        differ = np.nonzero(self.tokens[row, :held] != ids[:held])[0]
        self.held[row] = int(differ[0]) if len(differ) else held
        self.tokens[row, :count] = ids
        self.known[row] = self.start[row] = count
        self.limit[row] = limit
        self.order[row] = order
        self.seed[row] = request.seed
        self.temperature[row] = request.temperature
        self.top_p[row] = request.top_p
        self.top_k[row] = request.top_k
        self.sampling[row], self.ended[row] = True, 0
        self.requests[row] = request
        self.leader[row] = row
        self._may_stop(request.stop_ids)

    def ride(self, rows: Array, leaders: Array) -> None:
        """Rows that know what others know share their keys and values with them from now on."""
        self.leader[rows] = leaders
        self.held[rows] = self.held[leaders]

    def parted(self) -> tuple[Array, Array]:
        """Riders that must have keys and values of their own now, and the rows to copy these from: (rows, sources).

        They said something else than their leader, or either has ended. Those that say the same follow one of them.
        """
        riders = np.nonzero(self.leader != np.arange(len(self.leader)))[0]
        leaders = self.leader[riders]
        last = self.known[riders] - 1
        stays = (
            self.sampling[riders] & self.sampling[leaders] & (self.tokens[riders, last] == self.tokens[leaders, last])
        )
        leads: dict[tuple[int, int], int] = {}
        found: dict[int, int] = {}
        for row, leader in zip(riders[~stays].tolist(), leaders[~stays].tolist(), strict=True):
            said = leader, int(self.tokens[row, self.known[row] - 1])
            self.leader[row] = leads.setdefault(said, row) if self.sampling[row] else row
            if self.leader[row] == row:
                found[row] = leader
        return np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.int64)

    def forget(self) -> None:
        """The cache holds nothing that is of use."""
        self.held[:] = 0
        self.leader = np.arange(len(self.leader))

    def add(self, rows: Array, tokens: Array, log_probs: Array) -> None:
        """A new token for each of the rows, which sample; stop tokens and limits end them."""
        place = self.known[rows]
        self.tokens[rows, place] = tokens
        self.log_probs[rows, place] = log_probs
        self.known[rows] += 1
        self.ended[rows] = np.where(self._stops(rows, tokens), 1, 2 * (self.known[rows] >= self.limit[rows]))
        self.sampling[rows] = self.ended[rows] == 0

    def _stops(self, rows: Array, tokens: Array) -> Array:
        """Which of the rows' new tokens are stop tokens of their requests."""
        found = self._stop_somewhere[np.minimum(tokens, len(self._stop_somewhere) - 1)]
        for index in np.nonzero(found)[0].tolist():
            request = self.requests[rows[index]]
            found[index] = request is not None and int(tokens[index]) in request.stop_ids
        return np.asarray(found)

    def _may_stop(self, ids: frozenset[int]) -> None:
        lacks = max(ids, default=-1) + 2 - len(self._stop_somewhere)
        if lacks > 0:
            self._stop_somewhere = np.pad(self._stop_somewhere, (0, lacks))
        self._stop_somewhere[list(ids)] = True

    def cancel(self, request_id: str) -> None:
        """End a request that is being sampled."""
        for row, request in enumerate(self.requests):
            if request is not None and request.id == request_id and self.sampling[row]:
                self.sampling[row], self.ended[row] = False, 3

    def take_finished(self) -> list[int]:
        """Rows whose requests ended."""
        found: list[int] = np.nonzero(self.ended[: self.used])[0].tolist()
        return found

    def end(self, row: int) -> tuple[SampleRequest, tuple[int, ...], tuple[float, ...], Finish]:
        """What was sampled for a row's request, which is over."""
        request = self.requests[row]
        assert request is not None
        new = slice(int(self.start[row]), int(self.known[row]))
        finish = FINISH[int(self.ended[row]) - 1]
        self.ended[row] = 0
        self.requests[row] = None
        return request, tuple(self.tokens[row, new].tolist()), tuple(self.log_probs[row, new].tolist()), finish

    def free(self, row: int) -> None:
        """Nobody needs the row any more; a request in it is forgotten."""
        self.sampling[row], self.ended[row] = False, 0
        self.held[row] = self.known[row] = self.limit[row] = 0
        self.leader[row] = row
        self.requests[row] = None
        self._free.append(row)

    def restart(self) -> None:
        """All rows are free: give them out from the first again."""
        self.used = self.zone = 0
        self._free = []

    def prefill(self) -> Array:
        """Sampling rows that have more than their last token to take in, or none of their own yet."""
        rows = np.nonzero(self.sampling[: self.used])[0]
        wanted: Array = (self.known[rows] == self.start[rows]) | (self.known[rows] - self.held[rows] > 1)
        return np.compress(wanted, rows)

    def fresh(self) -> Array:
        """Sampling rows of which the cache holds nothing."""
        rows = np.nonzero(self.sampling[: self.used])[0]
        return np.compress(self.held[rows] == 0, rows)

    def begun_with(self, ids: list[int]) -> Array:
        """Sampling rows whose tokens begin with these, and have more."""
        rows = np.nonzero(self.sampling[: self.used])[0]
        same = (self.tokens[rows, : len(ids)] == ids).all(axis=1) & (self.known[rows] > len(ids))
        return np.compress(same, rows)

    def least_held(self) -> int:
        """The fewest tokens the cache holds of any sampling row."""
        return int(self.held[: self.used][self.sampling[: self.used]].min(initial=1 << 30))

    def common_beginning(self, rows: Array) -> list[int]:
        """The tokens all rows begin with, at most all but the last of the shortest."""
        shortest = int(self.known[rows].min()) - 1
        block = self.tokens[rows, :shortest]
        differ = np.nonzero((block != block[0]).any(axis=0))[0]
        count = int(differ[0]) if len(differ) else shortest
        found: list[int] = block[0, :count].tolist()
        return found

    def distinct(self, rows: Array) -> tuple[Array, dict[int, int]]:
        """Rows with different contexts to take in, and for every row the one that takes in its own."""
        leaders: dict[tuple[int, bytes], int] = {}
        twins: dict[int, int] = {}
        for row in rows.tolist():
            key = (int(self.held[row]), self.tokens[row, : self.known[row]].tobytes())
            twins[row] = leaders.setdefault(key, row)
        return np.array(sorted(leaders.values())), twins

    def window(self, rows: Array, width: int) -> Array:
        """The next `width` tokens to take in, (n, width); arbitrary ones beyond those that are known."""
        places = np.minimum(self.held[rows][:, None] + np.arange(width), self.tokens.shape[1] - 1)
        return np.asarray(self.tokens[rows[:, None], places])

    def arrangement(self) -> tuple[Array, Array]:
        """What `permute` takes for those that lead to come first."""
        leads = self.leads
        self.zone = int(leads.sum())
        return _swaps(np.nonzero(~leads[: self.zone])[0], self.zone + np.nonzero(leads[self.zone :])[0])

    def extension(self, new: Array) -> tuple[Array, Array]:
        """What `permute` takes for new rows that lead to join the zone at its end.

        Of new rows the cache holds nothing yet. Nothing is swapped where it holds something of one that makes room.
        """
        new = np.compress(new >= self.zone, new)
        end = self.zone + len(new)
        holes = np.setdiff1d(np.arange(self.zone, end), new)
        if not self.hollow[holes].all():
            return _swaps(holes[:0], new[:0])
        self.zone = end
        return _swaps(holes, np.compress(new >= end, new))

    def permute(self, source: Array, target: Array) -> Array:
        """Rows `target` become what rows `source`, a permutation of them, were; where each of all rows is then."""
        for name in self._ARRAYS:
            array = getattr(self, name)
            array[target] = array[source]
        requests = [self.requests[row] for row in source]
        for row, request in zip(target, requests, strict=True):
            self.requests[row] = request
        places = np.arange(len(self.leader))
        places[source] = target
        self.leader = places[self.leader]
        self._free = [int(places[row]) for row in self._free]
        return places

    def _grow(self, rows: int, width: int) -> None:
        """Room for so many rows and tokens, in coarse steps."""
        old_rows, old_width = self.tokens.shape
        if rows <= old_rows and width <= old_width:
            return
        new_rows = old_rows if rows <= old_rows else max(2 * old_rows, -(-rows // 64) * 64)
        new_width = old_width if width <= old_width else -(-width // 256) * 256
        old = {name: getattr(self, name) for name in self._ARRAYS}
        requests = self.requests
        self._allocate(new_rows, new_width)
        for name, array in old.items():
            getattr(self, name)[tuple(slice(size) for size in array.shape)] = array
        self.requests[: len(requests)] = requests


def _swaps(some: Array, others: Array) -> tuple[Array, Array]:
    """Sources and targets for some rows to change places with as many others, pair by pair."""
    return np.concatenate([others, some]), np.concatenate([some, others])
