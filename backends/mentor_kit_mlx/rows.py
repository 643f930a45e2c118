"""The engine's bookkeeping: what every row of the cache holds, and which request it samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.sampling import Completion, SampleRequest

Finish = Literal["stop", "length", "cancelled"]

#: Beginnings shorter than this are not worth a pass of their own.
SHORTEST_SHARED = 8


@dataclass(eq=False)
class Row:
    """One session's row: the tokens it knows, of which the cache holds the first `held`."""

    session: str
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    known: int = 0
    held: int = 0
    request: SampleRequest | None = None
    order: int = 0
    """The request's place in the order of submission."""
    limit: int = 0
    """The most tokens the row may know in its request."""
    log_probs: list[float] = field(default_factory=list)
    finish: Finish | None = None
    released: bool = False

    @property
    def sampling(self) -> bool:
        """Whether the row still wants tokens."""
        return self.request is not None and self.finish is None

    @property
    def start(self) -> int:
        """How many tokens the request's context has."""
        return self.known - len(self.log_probs)

    @property
    def prefills(self) -> bool:
        """Whether the row samples, and has more than its last token to take in or none of its own yet."""
        return self.sampling and (not self.log_probs or self.known - self.held > 1)

    @property
    def context(self) -> NDArray[np.int64]:
        """The tokens it knows."""
        return self.tokens[: self.known]

    def begin(self, request: SampleRequest, order: int, longest: int) -> None:
        """Sample a request; what the row holds of the request's context is kept."""
        ids = np.asarray(request.context, dtype=np.int64)
        count = len(ids)
        self.held = min(same(self.tokens[: self.held], ids), count - 1)
        self.limit = min(count + request.max_new_tokens, longest)
        self.tokens = np.concatenate([ids, np.zeros(self.limit - count, dtype=np.int64)])
        self.known = count
        self.request, self.order = request, order
        self.log_probs, self.finish = [], None

    def add(self, token: int, log_prob: float) -> None:
        """A new token; a stop token or the limit ends the request."""
        assert self.request is not None
        self.tokens[self.known] = token
        self.known += 1
        self.log_probs.append(log_prob)
        if token in self.request.stop_ids:
            self.finish = "stop"
        elif self.known >= self.limit:
            self.finish = "length"

    def end(self, version: int) -> Completion:
        """What was sampled for the request, which is over."""
        assert self.request is not None
        assert self.finish is not None
        ids = tuple(self.tokens[self.start : self.known].tolist())
        done = Completion(self.request.id, ids, tuple(self.log_probs), self.finish, version)
        self.request, self.finish = None, None
        return done


def same(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """The length of the common beginning."""
    count = min(len(first), len(second))
    differ = np.nonzero(first[:count] != second[:count])[0]
    return int(differ[0]) if len(differ) else count


def donor(row: Row, others: Sequence[Row]) -> tuple[int, int]:
    """The index of the row that holds most of another's context, and how much; the last token is never taken over."""
    shared = [same(other.tokens[: other.held], row.context[:-1]) for other in others]
    best = max(range(len(shared)), key=shared.__getitem__)
    return best, shared[best]


def common_beginning(rows: Sequence[Row]) -> int:
    """How many tokens all rows begin with, at most all but the last of the shortest."""
    first = rows[0].context[:-1]
    return min(same(first, row.context[:-1]) for row in rows)


def distinct(rows: Sequence[Row]) -> dict[int, int]:
    """For the index of every row, that of the first one with the same to take in."""
    leaders: dict[tuple[int, bytes], int] = {}
    return {index: leaders.setdefault((row.held, row.context.tobytes()), index) for index, row in enumerate(rows)}
