"""Retries of requests: which faults of a server or network may pass, and how long to wait.

Trouble    may pass: no connection, too slow, 429, 5xx, half an answer, no JSON  ─> wait and send again
Rejected   will not: wrong key, unknown model, a dialogue that it does not take  ─> say so, or end that dialogue
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from pydantic import ConfigDict, Field

from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.option_model import OptionModel

T = TypeVar("T")

#: Statuses of a request whose content a server rejects.
_OF_CONTENT = frozenset({400, 413, 422})


class Trouble(Exception):
    """A fault that may pass.

    Args:
        reason: one line.
        wait: seconds the server asked for; None if it did not.
        everyone: whether other requests should wait, too.
        own: whether it may be this dialogue's alone: the server had it, and gave no answer to it.
    """

    def __init__(self, reason: str, *, wait: float | None = None, everyone: bool = False, own: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.everyone, self.own = reason, wait, everyone, own


class Rejected(Exception):
    """The server will not answer this request, now or later."""

    def __init__(self, reason: str, *, status: int, too_long: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.status, self.too_long = reason, status, too_long

    @property
    def of_dialogue(self) -> bool:
        """Whether it is about what the request holds: the key, the model and the account are not at fault."""
        return self.too_long or self.status in _OF_CONTENT


class GaveUp(MentorKitError):
    """The server did not answer after all retries."""

    reason = ""
    """The last fault, in one line."""
    own = False
    """Whether it may be the dialogue's alone, as in `Trouble`."""


class RetryOptions(OptionModel):
    """Options of waiting and retries."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    timeout: float = Field(default=300.0, gt=0)
    """Seconds for a whole answer, from sending to its last byte."""
    retries: int = Field(default=6, ge=0)
    """How often a request is sent again after a fault that may pass."""
    first_wait: float = Field(default=1.0, gt=0)
    """Seconds before the first retry; doubled each time, with jitter, unless the server sets it (Retry-After)."""
    longest_wait: float = Field(default=120.0, gt=0)
    """Seconds between two tries, at most; a server that asks for more ends the run."""


class RateLimitGate:
    """A gate that every request passes; closed for a while when the server asks to wait."""

    def __init__(self) -> None:
        self._opens = 0.0

    def shut(self, seconds: float) -> None:
        """Close the gate for that many seconds."""
        self._opens = max(self._opens, asyncio.get_running_loop().time() + seconds)

    async def passed(self) -> None:
        """Wait until it is open."""
        while (left := self._opens - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)


async def with_retries(
    send: Callable[[], Awaitable[T]], options: RetryOptions, gate: RateLimitGate, stopped: Callable[[], bool]
) -> T:
    """Return what `send` returns, with retries after trouble.

    Args:
        send: sends the request once; raises `Trouble` or `Rejected`.
        options: the limits.
        gate: shared by all requests to the server.
        stopped: whether to give up at the next trouble, since the run ends anyway.

    Raises:
        GaveUp: the trouble did not pass.
        Rejected: as it is.
    """
    for attempt in range(options.retries + 1):
        await gate.passed()
        try:
            async with asyncio.timeout(options.timeout):
                return await send()
        except TimeoutError:
            trouble = Trouble(f"no whole answer within {options.timeout:g} s", own=True)
        except Trouble as found:
            trouble = found
        if attempt == options.retries or stopped():
            break
        wait = _backoff(attempt, options) if trouble.wait is None else trouble.wait
        if wait > options.longest_wait:
            raise GaveUp(
                f"the teacher's server wants {wait:.0f} s of rest ({trouble.reason})",
                hint="every answer so far is kept: resume later, or raise `teacher.with.retry.longest_wait`",
            )
        if trouble.everyone:
            gate.shut(wait)
        else:
            await asyncio.sleep(wait)
    fault = GaveUp(
        f"the teacher's server did not answer in {attempt + 1} tries; the last time: {trouble.reason}",
        hint="every answer so far is kept and costs nothing again: look at the server, then resume the run",
    )
    fault.reason, fault.own = trouble.reason, trouble.own
    raise fault


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds a response asks to wait, from `retry-after-ms` or `Retry-After` (seconds or a date); None if not."""
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * scale
        except ValueError:
            seconds = _seconds_until(value)
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return -1.0
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _backoff(attempt: int, options: RetryOptions) -> float:
    longest = min(options.longest_wait, options.first_wait * 2.0 ** min(attempt, 30))
    return longest * random.uniform(0.5, 1.0)
