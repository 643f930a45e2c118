"""A policy as an agent: it keeps its transcript token by token, and speaks through a sampler."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mentor_kit.backend.sampling import Sampler, SampleRequest
from mentor_kit.chat.format import ChatFormat
from mentor_kit.chat.transcript import Transcript
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message, assistant
from mentor_kit.core.tool import announced
from mentor_kit.core.trajectory import TokenTrace


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all."""


@dataclass(frozen=True)
class PolicyAgent:
    """Plays the assistant with a policy's sampler."""

    name: str
    format: ChatFormat
    sampler: Sampler
    sampling: Sampling
    limits: EpisodeLimits
    context: int
    """The longest context of the model, in tokens."""

    def start(self, episode: EpisodeRequest) -> PolicySession:
        self.sampler.open(episode.id)
        return PolicySession(self, episode)


class PolicySession:
    """One episode of a policy."""

    def __init__(self, agent: PolicyAgent, episode: EpisodeRequest) -> None:
        self._agent = agent
        self._episode = episode
        self._tools = announced(episode.tools)
        self._transcript: Transcript | None = None
        self._closed = True
        """Whether the last turn ended with its stop token."""
        self._numbers = itertools.count()
        """Of requests; copies share them, so that no two requests have the same id."""

    def __copy__(self) -> PolicySession:
        """The dialogue so far, in a session that goes on apart."""
        copied = PolicySession.__new__(PolicySession)
        copied.__dict__.update(self.__dict__)
        copied._transcript = copy.copy(self._transcript)
        return copied

    async def respond(self, messages: Sequence[Message]) -> Reply:
        transcript, incoming = self._incoming(messages)
        limit, finish_when_full = self._tokens_left(transcript, len(incoming))
        if limit <= 0:
            # what leaves no room for a turn stays out of the trace: an update could not take it
            return Reply(assistant(), finish=finish_when_full)
        transcript.inserted(incoming)
        completion = await self._agent.sampler.sample(self._request(transcript, limit))
        transcript.sampled(completion.ids, completion.log_probs, completion.version)
        self._closed = completion.finish == "stop"
        message = self._agent.format.parse(completion.ids, self._episode.tools)
        return Reply(message, finish="stop" if self._closed else "length")

    def trace(self) -> TokenTrace | None:
        if self._transcript is None:
            return None
        temperature = self._agent.sampling.temperature or 1.0
        return self._transcript.trace(temperature=temperature)

    @property
    def context_length(self) -> int:
        """How many tokens the dialogue has so far."""
        return 0 if self._transcript is None else len(self._transcript.context)

    def close(self) -> None:
        self._agent.sampler.close(self._episode.id)

    def _incoming(self, messages: Sequence[Message]) -> tuple[Transcript, list[int]]:
        """The transcript so far, and what to insert for the messages that came since the last turn."""
        if self._transcript is None:
            self._transcript = Transcript(self._agent.format.open(messages, self._tools))
            return self._transcript, []
        bridge = self._agent.format.bridge
        if self._closed:
            return self._transcript, bridge(messages, tools=self._tools)
        # an episode ends with a turn that was cut off, a chat goes on
        return self._transcript, bridge(messages, tools=self._tools, closed=False)

    def _tokens_left(self, transcript: Transcript, incoming: int) -> tuple[int, Literal["context", "length"]]:
        """How many tokens the turn may have after `incoming` more, and what the episode ends by when none are left."""
        limits = self._agent.limits
        context = self._agent.context - len(transcript.context) - incoming
        response = limits.max_response_tokens - transcript.response_length - incoming
        return min(context, response, limits.max_turn_tokens), "context" if context <= response else "length"

    def _request(self, transcript: Transcript, limit: int) -> SampleRequest:
        sampling = self._agent.sampling
        return SampleRequest(
            id=f"{self._episode.id}/{next(self._numbers)}",
            session=self._episode.id,
            context=transcript.context,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_new_tokens=limit,
            stop_ids=self._agent.format.stop_ids,
            seed=self._episode.seed,
        )
