"""The contract of a server's API: how requests are made from a dialogue, and answers are parsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mentor_kit.core.agent import Reply
from mentor_kit.core.conversation import Message
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool

Body = dict[str, Json]

#: The largest plausible number of an answer's tokens; larger counts are ignored.
_MOST = 10**12


class BadReply(ValueError):
    """A response is JSON and yet no answer: a field is missing or of another type."""


@dataclass(frozen=True)
class Counted:
    """Tokens of one answer, as the server counted them."""

    sent: int
    received: int
    cached: int = 0
    """Among those sent."""


class ApiProtocol(Protocol):
    """A server's API. Requests and responses are plain JSON."""

    def opening(self, tools: Mapping[str, Tool]) -> Body:
        """The request for a dialogue that has not begun."""
        ...

    def with_messages(self, body: Body, messages: Sequence[Message]) -> Body:
        """The request after these messages: the opening ones, tool results, or a user's words."""
        ...

    def with_reply(self, body: Body, reply: Body) -> Body:
        """Return the request after the server's answer, which is unchanged as far as strict servers accept it."""
        ...

    def read(self, reply: Body, tools: Mapping[str, Tool] | None = None) -> Reply:
        """Return the message of an answer; the tools are for calls that are parsed from its content.

        Raises:
            BadReply: it is none.
        """
        ...

    def counted(self, reply: Body) -> Counted | None:
        """The tokens of an answer; None if the server did not count them."""
        ...

    def url_hint(self) -> str:
        """Return what may be wrong with the recipe's `url`, where a server has nothing there; empty if nothing is."""
        ...

    def connect(self, timeout: float) -> ApiConnection:
        """A connection for the running event loop."""
        ...


class ApiConnection(Protocol):
    """An open connection to a server."""

    async def send(self, body: Body, key: str) -> str:
        """The response's text. `key` is sent along as Idempotency-Key, for servers that support it.

        Raises:
            Trouble: a fault that may pass.
            Rejected: a fault that will not.
        """
        ...

    async def close(self) -> None:
        """Close it."""
        ...


def token_count(value: Json) -> int | None:
    """A number of tokens as a server writes it, a string too; None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(_MOST)):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None
