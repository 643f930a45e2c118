"""Gives episodes in another thread the sampler of this one, which alone computes on the device.

    episodes, in a thread of their own ──requests──> DeviceSampler ──gate──> the policy's sampler, in this thread
                                       <─completions─

The device's thread runs its event loop only between updates, so sampling and updates never meet. Requests that come
meanwhile wait, and with the gate closed they wait longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mentor_kit.backend.sampling import Completion, Sampler, SampleRequest


class DeviceSampler(Sampler):
    """A `mentor_kit.backend.sampling.Sampler` for episodes in other threads than its inner sampler's.

    Args:
        inner: samples, in `loop` only.
        loop: the device's event loop; it need not be running when a request comes.
        waits: called in `loop` whenever a request has come to the closed gate.
    """

    def __init__(self, inner: Sampler, loop: asyncio.AbstractEventLoop, waits: Callable[[], None]) -> None:
        self._inner = inner
        self._loop = loop
        self._waits = waits
        self._gate = asyncio.Event()
        self._gate.set()
        self.waiting = 0
        """Requests at the closed gate. To be read in the device's thread, as `hold` and `go_on` are to be called."""

    def hold(self) -> None:
        """Close the gate: requests that come from now on wait."""
        self._gate.clear()

    def go_on(self) -> None:
        """Open the gate."""
        self._gate.set()

    def open(self, session: str) -> None:
        self._loop.call_soon_threadsafe(self._inner.open, session)

    def close(self, session: str) -> None:
        self._loop.call_soon_threadsafe(self._inner.close, session)

    def cancel(self, request_id: str) -> None:
        self._loop.call_soon_threadsafe(self._inner.cancel, request_id)

    async def sample(self, request: SampleRequest) -> Completion:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._sample(request), self._loop))

    async def _sample(self, request: SampleRequest) -> Completion:
        while not self._gate.is_set():
            self.waiting += 1
            self._waits()
            try:
                await self._gate.wait()
            finally:
                self.waiting -= 1
        return await self._inner.sample(request)
