"""The table of rows: what every row knows, holds and samples, in arrays rather than objects."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mentor_kit.backend.row_device import Array
from mentor_kit.backend.sampling import SampleRequest

Finish = Literal["stop", "length", "cancelled"]
FINISH: tuple[Finish, ...] = ("stop", "length", "cancelled")


class RowTable:
    """Rows in the order of their places on the device: `active` ones, which are run, then shared, idle and free ones.

    Each row has `known` tokens (context and sampled), of which the device holds keys and values of the first `held`.

    Sampling rows with the same tokens so far need keys and values once. One of them is *unique*: it has keys and values
    in its own place, and is run. The others are *shared*: they draw from its logits, and their own places are vacant,
    until they draw another token and get a copy.

    Args:
        cuts: whether a row can go on behind an earlier token than the last that it holds.
    """

    def __init__(self, *, cuts: bool = True) -> None:
        self._cuts = cuts
        self.used = 0
        self.active = 0
        self.changes = 0
        """Counts whatever makes other rows run than before, or what is drawn from them, but for requests that end."""
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
        self.version = np.zeros(rows, dtype=np.int64)
        """Of the weights that sampled the first token of a row's request."""
        self.seed = np.zeros(rows, dtype=np.uint64)
        self.temperature = np.ones(rows, dtype=np.float32)
        self.top_p = np.ones(rows, dtype=np.float32)
        self.top_k = np.zeros(rows, dtype=np.int64)
        self.sampling = np.zeros(rows, dtype=bool)
        self.owner = np.arange(rows)
        """The row in whose place a row's keys and values are: itself, but for shared rows."""
        self.ended = np.zeros(rows, dtype=np.int64)
        """How a request ended whose completion was not taken yet: 1 + an index of `FINISH`; else 0."""
        self.requests: list[SampleRequest | None] = [None] * rows

    _ARRAYS = (
        *("tokens", "log_probs", "known", "held", "start", "limit", "order", "version", "seed"),
        *("temperature", "top_p", "top_k", "sampling", "ended", "owner"),
    )

    @property
    def busy(self) -> bool:
        """Whether any request is sampled, or ended and was not taken yet."""
        return bool(self.sampling.any() or self.ended.any())

    @property
    def sampling_count(self) -> int:
        """How many rows are sampled now."""
        return int(self.sampling.sum())

    @property
    def unique(self) -> Array:
        """(rows,) booleans: sampling rows with keys and values in their own places."""
        return np.asarray(self.sampling & (self.owner == np.arange(len(self.owner))))

    @property
    def scattered(self) -> bool:
        """Whether a unique row is not among the active ones, or more than a quarter of these is not unique."""
        unique = self.unique
        return bool(unique[self.active :].any() or unique[: self.active].sum() < 0.75 * self.active)

    @property
    def vacant(self) -> Array:
        """(rows,) booleans: rows in whose own places the device holds nothing."""
        return np.asarray((self.held == 0) | (self.owner != np.arange(len(self.owner))))

    @property
    def longest(self) -> int:
        """The most tokens that a used row knows, and one more."""
        return int(self.known[: self.used].max(initial=0)) + 1

    @property
    def longest_limit(self) -> int:
        """The most tokens that a used row may know at the end of its request."""
        return int(np.maximum(self.known, self.limit)[: self.used].max(initial=0))

    @property
    def longest_held(self) -> int:
        """The most tokens that the device holds of any used row."""
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
        """Start to sample a request in a row; the beginning of its context that the row holds is kept."""
        self.changes += 1
        count = len(request.context)
        limit = min(count + request.max_new_tokens, context)
        self._grow(self.used, limit + 1)
        ids = np.asarray(request.context, dtype=np.int64)
        held = min(int(self.held[row]), count - 1)
        differ = np.nonzero(self.tokens[row, :held] != ids[:held])[0]
        same = int(differ[0]) if len(differ) else held
        self.held[row] = same if self._cuts or same == self.held[row] else 0
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
        self.owner[row] = row
        self._may_stop(request.stop_ids)

    def share(self, rows: Array, owners: Array) -> None:
        """Rows share the keys and values of others with the same tokens from now on."""
        self.changes += 1
        self.owner[rows] = owners
        self.held[rows] = self.held[owners]

    def diverged(self) -> tuple[Array, Array]:
        """Shared rows that need keys and values of their own now, and the rows to copy these from: (rows, sources).

        They drew another token than their owner, or either ended. Of those that drew the same token one becomes the
        owner of the others.
        """
        shared = np.nonzero(self.owner != np.arange(len(self.owner)))[0]
        owners = self.owner[shared]
        last = self.known[shared] - 1
        stays = self.sampling[shared] & self.sampling[owners] & (self.tokens[shared, last] == self.tokens[owners, last])
        new_owner: dict[tuple[int, int], int] = {}
        found: dict[int, int] = {}
        for row, owner in zip(shared[~stays].tolist(), owners[~stays].tolist(), strict=True):
            drawn = owner, int(self.tokens[row, self.known[row] - 1])
            self.owner[row] = new_owner.setdefault(drawn, row) if self.sampling[row] else row
            if self.owner[row] == row:
                found[row] = owner
        self.changes += len(found)
        return np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.int64)

    def forget(self) -> None:
        """Nothing that the device holds is valid any more."""
        self.changes += 1
        self.held[:] = 0
        self.owner = np.arange(len(self.owner))

    def add(self, rows: Array, tokens: Array, log_probs: Array, version: int) -> None:
        """Add a token to each of the rows, which are sampled; stop tokens and limits end their requests.

        Args:
            rows: distinct ones.
            tokens: one for each row.
            log_probs: of these.
            version: of the weights that sampled them.
        """
        place = self.known[rows]
        self.version[rows] = np.where(place == self.start[rows], version, self.version[rows])
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
                self.changes += 1

    def drawn(self, request_id: str) -> tuple[int, ...]:
        """The tokens that were drawn so far for a request; none for one without a row."""
        for row, request in enumerate(self.requests):
            if request is not None and request.id == request_id:
                return tuple(self.tokens[row, self.start[row] : self.known[row]].tolist())
        return ()

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
        """Free a row, and forget a request in it."""
        self.sampling[row], self.ended[row] = False, 0
        self.held[row] = self.known[row] = self.limit[row] = 0
        self.owner[row] = row
        self.requests[row] = None
        self._free.append(row)

    def restart(self) -> None:
        """Give rows out from the first again; all are free."""
        self.used = self.active = 0
        self._free = []

    def prefill(self) -> Array:
        """Sampling rows that have more than one token to take in, or no sampled token yet."""
        rows = np.nonzero(self.sampling[: self.used])[0]
        wanted: Array = (self.known[rows] == self.start[rows]) | (self.known[rows] - self.held[rows] > 1)
        return np.compress(wanted, rows)

    def fresh(self) -> Array:
        """Sampling rows of which the device holds nothing."""
        rows = np.nonzero(self.sampling[: self.used])[0]
        return np.compress(self.held[rows] == 0, rows)

    def longest_beginning(self, row: int) -> tuple[int, int]:
        """Where the device holds most of a row's context, all but its last token at most: (row, tokens)."""
        others = np.nonzero(self.held[: self.used] > self.held[row])[0]
        count = int(self.known[row]) - 1
        if not len(others) or not count:
            return row, int(self.held[row])
        differ = self.tokens[others, :count] != self.tokens[row, :count]
        same = np.where(differ.any(axis=1), differ.argmax(axis=1), count)
        held = np.minimum(same, self.held[others])
        if not self._cuts:
            held[held < self.held[others]] = 0
        best = int(held.argmax())
        return int(self.owner[others[best]]), int(held[best])

    def begun_with(self, ids: list[int]) -> Array:
        """Sampling rows whose tokens begin with these, and have more."""
        rows = np.nonzero(self.sampling[: self.used])[0]
        same = (self.tokens[rows, : len(ids)] == ids).all(axis=1) & (self.known[rows] > len(ids))
        return np.compress(same, rows)

    def least_held(self) -> int:
        """The fewest tokens that the device holds of any sampling row."""
        return int(self.held[: self.used][self.sampling[: self.used]].min(initial=1 << 30))

    def common_beginning(self, rows: Array) -> list[int]:
        """The tokens all rows begin with, at most all but the last of the shortest."""
        shortest = int(self.known[rows].min()) - 1
        block = self.tokens[rows, :shortest]
        differ = np.nonzero((block != block[0]).any(axis=0))[0]
        count = int(differ[0]) if len(differ) else shortest
        found: list[int] = block[0, :count].tolist()
        return found

    def distinct(self, rows: Array) -> tuple[Array, Array]:
        """Which rows to take in where several have the same tokens and hold as many of them.

        Returns:
            The first row of each kind, ascending, and the one of them for each of the rows, (n,).
        """
        first: dict[tuple[int, bytes], int] = {}
        owners = [
            first.setdefault((int(self.held[row]), self.tokens[row, : self.known[row]].tobytes()), row)
            for row in rows.tolist()
        ]
        return np.array(sorted(first.values())), np.array(owners)

    def window(self, rows: Array, width: int) -> Array:
        """The next `width` tokens to take in, (n, width); arbitrary ones beyond those that are known."""
        places = np.minimum(self.held[rows][:, None] + np.arange(width), self.tokens.shape[1] - 1)
        return np.asarray(self.tokens[rows[:, None], places])

    def arrangement(self) -> tuple[Array, Array]:
        """Make the unique rows the active ones; what `permute` takes for them to come first."""
        self.changes += 1
        unique = self.unique
        self.active = int(unique.sum())
        return _swaps(np.nonzero(~unique[: self.active])[0], self.active + np.nonzero(unique[self.active :])[0])

    def extension(self, new: Array) -> tuple[Array, Array]:
        """Make new unique rows, of which the device holds nothing yet, the last of the active ones.

        Nothing is swapped where the device holds something of a row that would make room for them.

        Returns:
            What `permute` takes.
        """
        new = np.compress(new >= self.active, new)
        end = self.active + len(new)
        leaving = np.setdiff1d(np.arange(self.active, end), new)
        if not self.vacant[leaving].all():
            return _swaps(leaving[:0], new[:0])
        self.active = end
        return _swaps(leaving, np.compress(new >= end, new))

    def permute(self, source: Array, target: Array) -> Array:
        """Move rows `source` to the places `target`, a permutation of them; returns each row's place, (rows,)."""
        for name in self._ARRAYS:
            array = getattr(self, name)
            array[target] = array[source]
        requests = [self.requests[row] for row in source]
        for row, request in zip(target, requests, strict=True):
            self.requests[row] = request
        places = np.arange(len(self.owner))
        places[source] = target
        self.owner = places[self.owner]
        self._free = [int(places[row]) for row in self._free]
        return places

    def _grow(self, rows: int, width: int) -> None:
        """Make room for so many rows and tokens, in coarse steps."""
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
    """Sources and targets with which some rows change places with as many others, pair by pair."""
    return np.concatenate([others, some]), np.concatenate([some, others])
