"""Sampling in any order of events: requests, steps, cancellations and releases, each chosen by whoever tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mentor_kit.backend.sampling import Completion, Engine, SampleRequest
from mentor_kit.testing.drawn import check_same
from mentor_kit.testing.material import drive, request

SESSIONS = 6
#: A session's context at most, in tokens.
LONGEST = 40

#: Tokens that end some of the requests.
STOPS = range(0, 200, 5)

Choose = Callable[[Sequence[Any]], Any]
"""One of several things."""
Same = Callable[[SampleRequest, Completion, Completion], None]
"""Checks that a request gave what it gave elsewhere, as `mentor_kit.testing.drawn.check_same`."""


class Events:
    """What was asked of an engine, and what came back.

    Args:
        engine: for contexts of at least `LONGEST` + 5 tokens; nobody else uses it.
        choose: what happens next.
    """

    def __init__(self, engine: Engine, choose: Choose) -> None:
        self.engine = engine
        self.choose = choose
        # one and one begin with the same, so that they may go on alike for a while
        self.contexts = {f"s{i}": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10 + i][: 4 + 3 * (i // 2)] for i in range(SESSIONS)}
        self.asked: dict[str, SampleRequest] = {}
        self.running: dict[str, str] = {}
        """The request of each session that speaks."""
        self.cancelled: set[str] = set()
        self.found: list[Completion] = []

    def play(self, count: int) -> None:
        """So many events, and steps until all is done."""
        for event in range(count):
            session = self.choose(sorted(self.contexts))
            kind = self.choose(["ask", "ask", "step", "step", "cancel", "release"])
            if kind == "ask" and session not in self.running:
                self._ask(session, event)
            elif kind == "cancel" and self.running:
                self._cancel(self.choose(sorted(self.running.values())))
            elif kind == "release" and session not in self.running:
                self.engine.release(session)
            elif kind == "step":
                self._step()
        for _ in range(100):
            self._step()
        assert not self.engine.busy
        assert sorted(completion.id for completion in self.found) == sorted(self.asked)
        for session in self.contexts:
            self.engine.release(session)

    def check(self, same: Same = check_same) -> None:
        """Every request gave what it gives alone; those that were cancelled gave the beginning of it."""
        for completion in self.found:
            asked = self.asked[completion.id]
            twin = drive(self.engine, [asked])[completion.id]
            self.engine.release(asked.session)
            assert completion.finish != "cancelled" or completion.id in self.cancelled
            same(asked, completion, twin)

    def _ask(self, session: str, event: int) -> None:
        name = f"{session}/{event}"
        temperature, stops = self.choose([0.0, 0.0, 0.1, 1.0]), self.choose([(), STOPS])
        self.asked[name] = request(
            name,
            self.contexts[session],
            session=session,
            max_new_tokens=1 + event % 5,
            temperature=temperature,
            stop_ids=frozenset(stops),
        )
        self.engine.submit(self.asked[name])
        self.running[session] = name

    def _cancel(self, name: str) -> None:
        self.engine.cancel(name)
        self.cancelled.add(name)

    def _step(self) -> None:
        for completion in self.engine.step():
            self.found.append(completion)
            session = completion.id.split("/")[0]
            del self.running[session]
            self.contexts[session] = [*self.contexts[session], *completion.ids, 3][:LONGEST]
