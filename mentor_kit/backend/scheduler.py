"""What an engine of any backend keeps of its requests: those without a place, and completions that are due."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from mentor_kit.backend.sampling import Completion, SampleRequest

Finished = tuple[int, Completion]
"""A completion, with its request's place in the order of submission."""


class RequestQueue:
    """Requests that wait, first come first served, each with its place in the order of submission.

    Requests that are cancelled while they wait are completions of no tokens, given with the next ones.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, SampleRequest]] = deque()
        self._cancelled: list[Finished] = []
        self._submitted = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[SampleRequest]:
        """Those that wait, the first first."""
        return (request for _, request in self._waiting)

    @property
    def busy(self) -> bool:
        """Whether anything waits, or is due."""
        return bool(self._waiting or self._cancelled)

    def add(self, request: SampleRequest) -> None:
        """A request waits, behind all others."""
        self._waiting.append((self._submitted, request))
        self._submitted += 1

    @property
    def first(self) -> tuple[int, SampleRequest]:
        """The one whose turn it is.

        Raises:
            IndexError: none waits.
        """
        return self._waiting[0]

    def pop(self) -> tuple[int, SampleRequest]:
        """As `first`, which waits no longer."""
        return self._waiting.popleft()

    def cancel(self, request_id: str, version: int) -> None:
        """A request, if it waits, is due with no tokens, as of the weights of `version`."""
        for order, request in self._waiting:
            if request.id == request_id:
                self._cancelled.append((order, Completion(request.id, (), (), "cancelled", version)))
        self._waiting = deque(item for item in self._waiting if item[1].id != request_id)

    def due(self, ended: Iterable[Finished]) -> list[Completion]:
        """Completions that ended now and those that were cancelled, in the order of submission; once."""
        found = [*self._cancelled, *ended]
        self._cancelled = []
        return [completion for _, completion in sorted(found, key=lambda item: item[0])]
