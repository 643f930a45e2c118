"""The contract of sampling: requests, completions, and who answers them. Tokens in, tokens out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class SampleRequest:
    """One turn to sample. The engine reuses the keys and values of the longest prefix it holds."""

    id: str
    session: str
    """The episode: requests of one session extend one another's context."""
    context: Sequence[int]
    """All token ids so far, at least one."""
    temperature: float
    """0 is greedy."""
    max_new_tokens: int
    stop_ids: frozenset[int]
    seed: int
    """0 <= seed < 2**64."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all."""


@dataclass(frozen=True)
class Completion:
    """What was sampled for a request."""

    id: str
    ids: tuple[int, ...]
    """The new tokens, the stop token included."""
    log_probs: tuple[float, ...]
    """Of the full distribution at the request's temperature (1 when it is 0), before top-p and top-k."""
    finish: Literal["stop", "length", "cancelled"]
    version: int
    """How many optimizer steps the weights had seen that sampled the first token; where an update comes in the middle
    of a request, later tokens are of newer ones."""


class Sampler(Protocol):
    """Samples the turns of many episodes: a local engine's, or a server's."""

    def open(self, session: str) -> None:
        """Begin a session, an episode's, before its first request: barriers and caches go by it."""
        ...

    def close(self, session: str) -> None:
        """End a session, and forget its keys and values. Unknown sessions are ignored."""
        ...

    async def sample(self, request: SampleRequest) -> Completion:
        """Sample one turn. Requests may be answered in any order.

        Raises:
            BackendError: the request alone exceeds the context or the memory there is.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """End a request early; its completion comes with finish `cancelled`. Unknown ids are ignored."""
        ...

    def drawn(self, request_id: str) -> tuple[int, ...]:
        """The tokens that a request has so far, for whoever shows a turn while it is sampled.

        Empty for unknown requests, and always for samplers that know whole completions only.
        """
        return ()


class Engine(Protocol):
    """A step-driven sampler of a local backend; `mentor_kit.backend.engine_sampler` makes it a `Sampler`."""

    def submit(self, request: SampleRequest) -> None:
        """Queue a request.

        Raises:
            BackendError: the request alone exceeds the context or the memory there is.
        """
        ...

    def step(self) -> list[Completion]:
        """Advance everything that is queued or running by one token (or a chunk of prompt).

        Returns the requests that finished, in the order of submission; empty while none did.
        """
        ...

    @property
    def busy(self) -> bool:
        """Whether any request is queued or running."""
        ...

    def cancel(self, request_id: str) -> None:
        """As `Sampler.cancel`; the completion comes with the next `step`."""
        ...

    def drawn(self, request_id: str) -> tuple[int, ...]:
        """As `Sampler.drawn`."""
        return ()

    def release(self, session: str) -> None:
        """Forget a session's keys and values. Unknown sessions are ignored."""
        ...
