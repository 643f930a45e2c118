"""Answers one request: from the file of answers, else by the server.

ask ──found in the file──> answer, free
 └──> budget ──> queue ──> send, with retries ──> parse ──> stored ──> answer
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from mentor_kit.chat.calls import deeper_than
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.secret import hide
from mentor_kit_teachers.answers import Answers, StoredAnswer, Usage, content_hash
from mentor_kit_teachers.api_protocols import ApiConnection, ApiProtocol, BadReply, Body, Counted
from mentor_kit_teachers.faults import error_inside, one_line, words
from mentor_kit_teachers.retry import RateLimitGate, RetryOptions, Trouble, with_retries
from mentor_kit_teachers.spending import Spending
from mentor_kit_teachers.standing import FAULTS, Fault, Standing

#: Characters a token, where a server does not count tokens; fewer where a spending limit is set.
_CHARACTERS_PER_TOKEN, _AT_LEAST = 4, 2
#: The deepest nesting of an answer.
_DEEPEST = 100


class Stopped(Exception):
    """Another request failed for good, and no new ones are sent."""


@dataclass
class Exchange:
    """All requests of one call of `demonstrate`."""

    teacher: str
    """The API, the server and the model: the key of these answers."""
    protocol: ApiProtocol
    connection: ApiConnection
    answers: Answers
    spending: Spending
    standing: Standing
    retry: RetryOptions
    places: asyncio.Semaphore
    """Limits the requests under way at once."""
    max_tokens: int
    stopping: Callable[[], bool]
    """Whether another request has failed for good."""
    _failed: bool = False
    """Set where a request has."""
    _gate: RateLimitGate = field(default_factory=RateLimitGate)
    _under_way: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def ask(self, body: Body, draw: str) -> StoredAnswer:
        """The answer to a request.

        Args:
            body: the request.
            draw: distinguishes attempts at the same request.

        Raises:
            Stopped: it would have to be sent, and the run is ending.
            SpendingLimit: it could pass the limit.
            GaveUp: the server does not answer.
            Rejected: the server will not answer.
        """
        key = content_hash({"teacher": self.teacher, "body": body, "draw": draw})
        # the same request twice at the same time (a question that occurs twice) is sent once
        async with self._under_way.setdefault(key, asyncio.Lock()):
            found = self.answers.find(key)
            if found is not None:
                self.spending.reuse(found.usage)
            else:
                found = await self._send(body, key)
            self.standing.answered()
            return found

    def excuse(self, fault: Fault, problem: str, *, first: bool) -> None:
        """As `Standing.excuse`; where the fault concerns all requests, no new one is sent from then on."""
        try:
            self.standing.excuse(fault, problem, first=first)
        except FAULTS:
            self._failed = True
            raise

    def _ends(self) -> bool:
        return self._failed or self.stopping()

    async def _send(self, body: Body, key: str) -> StoredAnswer:
        async with self.places, self.spending.reserve(self._most(body)):
            if self._ends():
                raise Stopped
            return await with_retries(lambda: self._once(body, key), self.retry, self._gate, self._ends)

    async def _once(self, body: Body, key: str) -> StoredAnswer:
        reply = read_reply(await self.connection.send(body, key), self.protocol)
        counted = self.protocol.counted(reply)
        tokens = counted or Counted(_tokens(body), _tokens(reply))
        cost = self.spending.prices.cost(tokens.sent, tokens.received, tokens.cached)
        answer = StoredAnswer(reply, Usage(tokens.sent, tokens.received, cost), fresh=True)
        # nothing is awaited from here to the file, so a cancellation loses no received answer
        self.answers.keep(key, self.teacher, answer)
        self.spending.pay(answer.usage, estimated=counted is None)
        return answer

    def _most(self, body: Body) -> float:
        """The most that a request could cost."""
        return self.spending.prices.cost(_tokens(body, _AT_LEAST), self.max_tokens)


def read_reply(text: str, protocol: ApiProtocol) -> Body:
    """A response's JSON, checked, with secrets hidden.

    Raises:
        Trouble: it is no JSON, or no answer; or an error that may pass.
        Rejected: it is an error that will not.
    """
    try:
        reply = json.loads(hide(text))
        if not isinstance(reply, dict):
            raise BadReply(f"a JSON {type(reply).__name__}")
        if deeper_than(reply, _DEEPEST):
            raise BadReply(f"nested deeper than {_DEEPEST} levels")
        fault = error_inside(reply)
        if fault is None:
            protocol.read(reply)
            return reply
    except (BadReply, ValueError, RecursionError) as error:
        shown = words(text)[:120] or "nothing"
        fault = Trouble(f"the response is no answer ({one_line(str(error))}): {shown!r}", own=True)
    raise fault


def _tokens(content: Json, characters: int = _CHARACTERS_PER_TOKEN) -> int:
    return len(json.dumps(content, ensure_ascii=False)) // characters
