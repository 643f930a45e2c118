"""Makes a step-driven engine a sampler for many episodes at once.

Deterministic: everything waits at turn barriers. When each episode that is alive waits for a turn, their
requests are sampled together, in the order in which the episodes were started; so the batches, and with them
every floating-point result, are the same in every run. Otherwise the engine steps whenever anything is
queued, and slow tools overlap with sampling.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from mentor_kit.backend.sampling import Completion, Engine, Sampler, SampleRequest

Watch = Callable[[], AbstractContextManager[None]]


class EngineSampler(Sampler):
    """A `mentor_kit.backend.sampling.Sampler` over an engine; see the module.

    Args:
        engine: samples.
        deterministic: whether requests wait for one another at turn barriers.
        watch: entered around each piece of the engine's work, for meters.
    """

    def __init__(self, engine: Engine, *, deterministic: bool = True, watch: Watch = nullcontext) -> None:
        self._engine = engine
        self._deterministic = deterministic
        self._watch = watch
        self._order: dict[str, int] = {}
        self._opened = itertools.count()
        self._waiting: dict[str, tuple[SampleRequest, asyncio.Future[Completion]]] = {}
        self._submitted: dict[str, asyncio.Future[Completion]] = {}
        self._cancelled: set[str] = set()
        """Requests that were cancelled before the engine knew them."""
        self._pump: asyncio.Task[None] | None = None

    def open(self, session: str) -> None:
        """Have barriers wait for the session from now on."""
        self._order[session] = next(self._opened)

    def close(self, session: str) -> None:
        """Release the session's keys and values; barriers no longer wait for it."""
        self._order.pop(session, None)
        self._engine.release(session)
        self._sample_if_all_wait()

    async def sample(self, request: SampleRequest) -> Completion:
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        if self._deterministic:
            self._waiting[request.id] = (request, future)
            self._sample_if_all_wait()
        else:
            self._engine.submit(request)
            self._submitted[request.id] = future
            if self._pump is None or self._pump.done():
                self._pump = asyncio.create_task(self._overlap())
        try:
            return await future
        except asyncio.CancelledError:
            self._engine.cancel(request.id)
            raise

    def cancel(self, request_id: str) -> None:
        if request_id in self._waiting:
            self._cancelled.add(request_id)
        else:
            self._engine.cancel(request_id)

    def drawn(self, request_id: str) -> tuple[int, ...]:
        return self._engine.drawn(request_id)

    def _sample_if_all_wait(self) -> None:
        if len(self._waiting) < len(self._order):
            return
        self._waiting = {key: item for key, item in self._waiting.items() if not item[1].done()}  # drop cancelled ones
        if not self._waiting or len(self._waiting) < len(self._order):
            return
        batch = sorted(self._waiting.values(), key=lambda item: self._order.get(item[0].session, -1))
        self._waiting = {}
        # all at once, so that an error reaches those as well that were not submitted yet
        self._submitted.update({request.id: future for request, future in batch})
        try:
            for request, _ in batch:
                self._engine.submit(request)
                if request.id in self._cancelled:
                    self._engine.cancel(request.id)
                    self._cancelled.remove(request.id)
            while self._engine.busy:
                self._step()
        except Exception as error:  # noqa: BLE001 (it belongs to the episodes that wait, and reaches them)
            self._fail(error)

    async def _overlap(self) -> None:
        try:
            while self._engine.busy:
                self._step()
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 (as above)
            self._fail(error)

    def _step(self) -> None:
        with self._watch():
            completions = self._engine.step()
        for completion in completions:
            # the engine may still end requests of episodes that were given up, here or in an earlier sampler
            future = self._submitted.pop(completion.id, None)
            if future is not None and not future.done():
                future.set_result(completion)

    def _fail(self, error: Exception) -> None:
        failed, self._submitted = self._submitted, {}
        for request_id, future in failed.items():
            self._engine.cancel(request_id)
            if not future.done():
                future.set_exception(error)
