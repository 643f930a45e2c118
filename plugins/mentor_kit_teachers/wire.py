"""The contract of a server's API: how it is told a dialogue, and what it answers. One module for each API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mentor_kit.actor import Reply
from mentor_kit.conversation import Message
from mentor_kit.record import Json
from mentor_kit.secret import hide
from mentor_kit.tool import Tool
from mentor_kit_teachers.patience import Rejected, Trouble, retry_after

Body = dict[str, Json]

#: Statuses that may pass: timeouts, conflicts, too early, too many requests; besides all from 500 on.
_PASSING = frozenset({408, 409, 425, 429})
_TOO_LONG = ("context_length_exceeded", "context length", "context window", "prompt is too long", "maximum context")


class BadReply(ValueError):
    """A response is JSON and yet no answer: a field is missing or of another type."""


@dataclass(frozen=True)
class Counted:
    """Tokens of one answer, as the server counted them."""

    sent: int
    received: int
    cached: int = 0
    """Among those sent."""


class Wire(Protocol):
    """One API. Everything it gives and takes is plain JSON."""

    def opening(self, tools: Mapping[str, Tool]) -> Body:
        """The request for a dialogue that has not begun."""
        ...

    def heard(self, body: Body, messages: Sequence[Message]) -> Body:
        """The request after these messages: the opening ones, tool results, or a user's words."""
        ...

    def said(self, body: Body, reply: Body) -> Body:
        """The request after the server's own answer, which goes back as it came."""
        ...

    def read(self, reply: Body, tools: Mapping[str, Tool] | None = None) -> Reply:
        """What an answer says; the tools are for calls that are read out of its words.

        Raises:
            BadReply: it is none.
        """
        ...

    def counted(self, reply: Body) -> Counted | None:
        """The tokens of an answer; None if the server did not count them."""
        ...

    def connect(self, timeout: float) -> Connection:
        """A connection for the running event loop."""
        ...


class Connection(Protocol):
    """An open connection to a server."""

    async def send(self, body: Body, key: str) -> str:
        """The response's text. `key` is sent along as Idempotency-Key, for servers that heed it.

        Raises:
            Trouble: a fault that may pass.
            Rejected: a fault that will not.
        """
        ...

    async def close(self) -> None:
        """Close it."""
        ...


def as_fault(error: Exception, sdk: Any) -> Exception:
    """A fault of an official package (`openai` and `anthropic` name theirs alike) as `Trouble` or `Rejected`."""
    if isinstance(error, sdk.APIStatusError):
        return _status_fault(error)
    if isinstance(error, sdk.APITimeoutError):
        return Trouble("the server was too slow")
    if isinstance(error, sdk.APIConnectionError):
        cause = error.__cause__ or error
        return Trouble(f"no connection: {one_line(f'{type(cause).__name__}: {cause}')}")
    return Trouble(f"the response cannot be read: {one_line(f'{type(error).__name__}: {error}')}")


def _status_fault(error: Any) -> Exception:
    status = int(error.status_code)
    reason = f"HTTP {status}: {one_line(str(error.message))}"
    exhausted = "insufficient_quota" in f"{error.body} {error.message}"
    if (status in _PASSING or status >= 500) and not exhausted:
        wait = retry_after(error.response.headers)
        return Trouble(reason, wait=wait, everyone=status == 429 or wait is not None)
    said = f"{error.body} {error.message}".lower()
    return Rejected(reason, status=status, too_long=status in (400, 413) and any(word in said for word in _TOO_LONG))


def one_line(text: str) -> str:
    """A server's words in one short line, without secrets: servers echo keys."""
    return hide(" ".join(text.split()))[:300]
