"""Sampling, whose sessions are spread over processes.

A session's requests go to the process that has its keys and values; sessions that begin together are assigned in
blocks, so that those of a group mostly meet and share their prompt.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from mentor_kit.backend.distributed.leader import LedWorker
from mentor_kit.backend.distributed.serialization import completion_from_data, request_as_data
from mentor_kit.backend.sampling import Completion, SampleRequest

#: Tokens sampled between two exchanges; a cancelled request continues for fewer.
STRIDE = 8


class DistributedEngine:
    """A `mentor_kit.backend.sampling.Engine` whose sessions are spread over processes; see the module.

    Args:
        led: the workers that sample.
        check: refuses a request that cannot be sampled.
    """

    def __init__(self, led: LedWorker, check: Callable[[SampleRequest], None]) -> None:
        self._led, self._check = led, check
        self._events: list[tuple[str, str, Any]] = []
        """Events since the last exchange: kind, session, and the request, its id or the session."""
        self._owner: dict[str, int] = {}
        """The process that holds each session."""
        self._order: dict[str, int] = {}
        """Unfinished requests: their places in the order of submission."""
        self._sessions: dict[str, str] = {}
        """Unfinished requests: their sessions."""
        self._submitted = itertools.count()

    @property
    def busy(self) -> bool:
        return bool(self._order)

    def submit(self, request: SampleRequest) -> None:
        self._check(request)
        self._order[request.id] = next(self._submitted)
        self._sessions[request.id] = request.session
        self._events.append(("submit", request.session, request))

    def cancel(self, request_id: str) -> None:
        if request_id in self._order:
            self._events.append(("cancel", self._sessions[request_id], request_id))

    def drawn(self, request_id: str) -> tuple[int, ...]:
        """None: tokens come from the other processes with their completions."""
        return ()

    def release(self, session: str) -> None:
        self._events.append(("release", session, session))

    def step(self) -> list[Completion]:
        events, self._events = self._events, []
        ended = _ended(events)
        self._assign([session for kind, session, _ in events if kind == "submit"], ended)
        sent = [
            [kind, self._owner[session], request_as_data(given) if kind == "submit" else given]
            for kind, session, given in events
            if session in self._owner
        ]
        for session in ended:
            self._owner.pop(session, None)
        answers = self._led.run("sample", events=sent, steps=STRIDE)
        found = [completion_from_data(data) for completions, _ in answers for data in completions]
        found.sort(key=lambda completion: self._order[completion.id])
        for completion in found:
            del self._order[completion.id], self._sessions[completion.id]
        if not any(busy for _, busy in answers):
            # requests that are left were released while they ran, and have no completion
            self._order, self._sessions = {}, {}
        return found

    def _assign(self, sessions: Sequence[str], ended: set[str]) -> None:
        """Assign every new session to a process: in blocks, so that all hold about as many.

        Sessions that have ended do not count, so that a resumed run, which never had them, assigns the same.
        """
        new = [session for session in dict.fromkeys(sessions) if session not in self._owner]
        held = [0] * self._led.size
        for session, rank in self._owner.items():
            held[rank] += session not in ended
        quota = -(-(sum(held) + len(new)) // len(held))
        rank = 0
        for session in new:
            while held[rank] >= quota:
                rank += 1
            self._owner[session] = rank
            held[rank] += 1


def _ended(events: Sequence[tuple[str, str, Any]]) -> set[str]:
    """The sessions that were released, and had no request since."""
    latest = {session: kind for kind, session, _ in events if kind != "cancel"}
    return {session for session, kind in latest.items() if kind == "release"}
