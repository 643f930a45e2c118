"""A teacher's cost and its limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ConfigDict, Field, model_validator

from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.option_model import OptionModel
from mentor_kit_teachers.answers import Usage

_MILLION = 1_000_000


class SpendingLimit(MentorKitError):
    """The teacher's next request could cost more than is left."""


class Prices(OptionModel):
    """Dollars per million tokens, as the server's price list has them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    input: float = Field(default=0.0, ge=0)
    """Of tokens that are sent."""
    output: float = Field(default=0.0, ge=0)
    """Of tokens that come back, reasoning included."""
    cached: float | None = Field(default=None, ge=0)
    """Of sent tokens that the server had cached; as `input` if left out."""
    limit: float | None = Field(default=None, gt=0)
    """Dollars that may be spent in all, earlier runs with the same file of answers included; none if left out."""

    @model_validator(mode="after")
    def _limit_needs_prices(self) -> Prices:
        if self.limit is not None and not (self.input or self.output):
            raise ValueError("a limit needs the prices `input` and `output`, in dollars per million tokens")
        return self

    def cost(self, sent: int, received: int, cached: int = 0) -> float:
        """Dollars for numbers of tokens; `cached` ones are among those sent."""
        cheap = self.input if self.cached is None else self.cached
        return ((sent - cached) * self.input + cached * cheap + received * self.output) / _MILLION


class Spending:
    """Counts what is spent, and delays requests that could pass the limit.

    Every request reserves the most it could cost, so that many at once cannot pass the limit together.
    """

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self.before = 0.0
        """Dollars that other runs spent: earlier ones, and concurrent ones up to the last look."""
        self.paid = Usage()
        """Paid by this process."""
        self.reused = Usage()
        """Paid for earlier, and reused now."""
        self.requests = 0
        self.estimated = 0
        """Requests whose tokens the server did not count."""
        self.begin(Usage())

    def begin(self, total: Usage) -> None:
        """Requests are about to be sent from this event loop, and none is under way.

        Args:
            total: what the ledger has, this process' own payments included.
        """
        self.before = max(0.0, total.cost - self.paid.cost)
        self._reserved: list[float] = []
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def reserve(self, most: float) -> AsyncIterator[None]:
        """Reserve `most` dollars while a request is under way; waits for others to settle if need be.

        Raises:
            SpendingLimit: it could pass the limit even when all others have settled.
        """
        async with self._settled:
            await self._settled.wait_for(lambda: self._fits(most) or not self._reserved)
            if not self._fits(most):
                raise self._reached(most)
            self._reserved.append(most)
        try:
            yield
        finally:
            self._reserved.remove(most)
            async with self._settled:
                self._settled.notify_all()

    def pay(self, usage: Usage, *, estimated: bool) -> None:
        """Count an answer that was just received."""
        self.paid += usage
        self.requests += 1
        self.estimated += estimated

    def reuse(self, usage: Usage) -> None:
        """Count an answer that was paid for earlier."""
        self.reused += usage

    def account(self) -> dict[str, Json]:
        """The counts for the summary."""
        found: dict[str, Json] = {
            "requests": self.requests,
            "input_tokens": self.paid.input_tokens,
            "output_tokens": self.paid.output_tokens,
            "cost": round(self.paid.cost, 6),
            "cost_reused": round(self.reused.cost, 6),
        }
        return found | ({"requests_with_estimated_tokens": self.estimated} if self.estimated else {})

    def _fits(self, most: float) -> bool:
        limit = self.prices.limit
        return limit is None or self.before + self.paid.cost + sum(self._reserved) + most <= limit

    def _reached(self, most: float) -> SpendingLimit:
        spent = self.before + self.paid.cost
        return SpendingLimit(
            f"the teacher has cost ${spent:.4f} (${self.before:.4f} in earlier runs), and the next request could "
            f"cost ${most:.4f} more: the limit is ${self.prices.limit:g}",
            hint="every answer is kept and costs nothing again: raise `teacher.with.price.limit` and resume, "
            "or lower `teacher.with.max_tokens`",
        )
