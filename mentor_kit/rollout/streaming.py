"""Shows a policy's turn while it is sampled, and lets a chat change temperature and seed between questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mentor_kit.backend.sampling import Completion, Sampler, SampleRequest
from mentor_kit.chat.families import all_marks
from mentor_kit.chat.format import ChatFormat
from mentor_kit.core.conversation import Message
from mentor_kit.core.tool import Tool

#: Seconds between two looks at a turn that is being sampled.
INTERVAL = 0.03
#: The beginning of a call that is a bare JSON object.
_BARE_CALL = '{"name"'


class StreamingSampler(Sampler):
    """A sampler that reports the tokens of a turn while they are drawn; what is drawn is the inner sampler's.

    Args:
        inner: samples.
        drawn: called with all tokens that a request has so far, the last time when it is complete.
    """

    def __init__(self, inner: Sampler, drawn: Callable[[Sequence[int]], None]) -> None:
        self._inner = inner
        self._drawn = drawn
        self.temperature: float | None = None
        """In place of the requests' own; None leaves them as they are."""
        self.seed: int | None = None
        """In place of the requests' own; None leaves them as they are."""

    def open(self, session: str) -> None:
        self._inner.open(session)

    def close(self, session: str) -> None:
        self._inner.close(session)

    def cancel(self, request_id: str) -> None:
        self._inner.cancel(request_id)

    def drawn(self, request_id: str) -> tuple[int, ...]:
        return self._inner.drawn(request_id)

    async def sample(self, request: SampleRequest) -> Completion:
        if self.temperature is not None:
            request = replace(request, temperature=self.temperature)
        if self.seed is not None:
            request = replace(request, seed=self.seed)
        reporting = asyncio.create_task(self._report(request.id))
        try:
            completion = await self._inner.sample(request)
        finally:
            reporting.cancel()
        self._drawn(completion.ids)
        return completion

    async def _report(self, request_id: str) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            if ids := self._inner.drawn(request_id):
                self._drawn(ids)


class TurnStream:
    """The words of a turn, piece by piece, from its tokens so far; calls and their marks are left out.

    What may turn out to be the beginning of a mark is held back until it is known.
    """

    def __init__(self, format: ChatFormat, tools: Mapping[str, Tool]) -> None:
        self._format = format
        self._tools = tools
        self._marks = (*all_marks(), _BARE_CALL)
        self._said = {"reasoning": "", "content": ""}

    def pieces(self, ids: Sequence[int]) -> list[tuple[str, str]]:
        """What is new in a turn with these tokens so far: (`reasoning` or `content`, string) each."""
        message = self._format.parse(ids, self._tools)
        return self._new({"reasoning": self._sure(message.reasoning), "content": self._sure(message.content)})

    def rest(self, message: Message) -> list[tuple[str, str]]:
        """What is new in the finished turn."""
        return self._new({"reasoning": message.reasoning, "content": message.content})

    def _new(self, words: Mapping[str, str]) -> list[tuple[str, str]]:
        found = []
        for kind, text in words.items():
            said = self._said[kind]
            # a mark that came late can take words back: what was shown stays as it is then
            if len(text) > len(said) and text.startswith(said):
                found.append((kind, text[len(said) :]))
                self._said[kind] = text
        return found

    def _sure(self, text: str) -> str:
        """The text without an unfinished character, or what may be the beginning of a mark, at its end."""
        text = text.rstrip("\ufffd")
        longest = max(map(len, self._marks))
        for length in range(min(longest, len(text)), 0, -1):
            if any(mark.startswith(text[-length:]) for mark in self._marks):
                return text[:-length].rstrip()
        return text.rstrip()
