"""The isolated runner: sends calls to worker processes, so that a fault affects only its own call.

Runner ──call──> a free WorkerProcess ──> value, or ToolError with a reason for the model
                 (hung, crashed, too large: killed from outside; the next call gets a fresh one)

Runner.own() ──> OwnWorker: a process for one episode alone, for tools that keep state
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import ToolError
from mentor_kit.utils.open_files import allow_open_files
from mentor_kit_tools.limits import Limits
from mentor_kit_tools.process import Load, WorkerAnswer, WorkerProcess


class Caller(Protocol):
    """A receiver of calls: a runner, or the process of one episode."""

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Json:
        """The value of a call; what was printed, where it gives no value and printed something.

        Raises:
            ToolError: it failed; the message is for the model to read.
        """
        ...


@dataclass
class _State:
    """What a runner holds, apart from it, so that it is cleared when the runner is garbage."""

    temporary: str = ""
    """A folder of its own, to be removed at the end."""
    idle: list[WorkerProcess] = field(default_factory=list)
    owned: set[WorkerProcess] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: bool = False

    def close(self) -> None:
        with self.lock:
            self.closed = True
            workers = [*self.idle, *self.owned]
            self.idle.clear()
            self.owned.clear()
        for worker in workers:
            worker.close()
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)


class Runner:
    """A pool of worker processes that all run the same program. Usable from any thread and event loop.

    The first process is started at once, so that a program that cannot be loaded is known before anything runs.

    Args:
        program: `package.module:function`; see `mentor_kit_tools.worker.Program`.
        setup: what the function gets; JSON.
        limits: of each process.
        workers: calls that run concurrently.
        folder: the processes' working folder; a temporary one if left out.
        environment: variables of the processes beside the few that any program needs.

    Raises:
        ToolError: the program cannot be loaded.
    """

    def __init__(
        self,
        program: str,
        setup: Json,
        *,
        limits: Limits | None = None,
        workers: int = 2,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        temporary = "" if folder else tempfile.mkdtemp(prefix="mentor-kit-")
        self._load = Load(program, setup, folder or Path(temporary), limits or Limits(), environment or {})
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="tools")
        self._state = _State(temporary)
        self._finalizer = weakref.finalize(self, _State.close, self._state)
        allow_open_files()  # each process takes four, and an episode may have one of its own
        first = WorkerProcess(self._load)
        self.catalogue: Json = first.catalogue
        """The program's catalogue, such as the schemas of its tools."""
        self._state.idle.append(first)

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Json:
        """See `Caller`."""
        return await self._in_thread(lambda cancelled: self._run(name, arguments, cancelled))

    def call_now(self, name: str, arguments: Mapping[str, Json]) -> Json:
        """As `call`, for ordinary code; the calling thread waits."""
        return _shown(self._run(name, arguments, threading.Event()))

    @asynccontextmanager
    async def own(self) -> AsyncIterator[OwnWorker]:
        """A process for one episode, started when it is first called; gone when the block is left."""
        owned = OwnWorker(self)
        try:
            yield owned
        finally:
            owned.close()

    def close(self) -> None:
        """End all processes; calls under way fail, and later ones too."""
        self._finalizer()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, work: Callable[[threading.Event], WorkerAnswer]) -> Json:
        cancelled = threading.Event()
        try:
            return _shown(await asyncio.wrap_future(self._threads.submit(work, cancelled)))
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def _run(self, name: str, arguments: Mapping[str, Json], cancelled: threading.Event) -> WorkerAnswer:
        state = self._state
        with state.lock:
            idle = state.idle.pop() if state.idle else None
        worker = idle if idle is not None and idle.alive else self._start(idle)
        try:
            return worker.call(name, arguments, cancelled)
        finally:
            self._put_back(worker)

    def _put_back(self, worker: WorkerProcess) -> None:
        with self._state.lock:
            self._state.owned.discard(worker)
            if worker.alive and not self._state.closed:
                self._state.idle.append(worker)
                return
        worker.close()

    def _start(self, former: WorkerProcess | None) -> WorkerProcess:
        if former is not None:
            former.close()
        if self._state.closed:
            raise ToolError("the tools are closed")
        worker = WorkerProcess(self._load)
        with self._state.lock:
            self._state.owned.add(worker)
        return worker


@contextmanager
def closed_on_error(runner: Runner) -> Iterator[None]:
    """Closes the runner where its program cannot be used."""
    try:
        yield
    except BaseException:
        runner.close()
        raise


class OwnWorker:
    """The process of one episode. After a call that killed it, the next one starts anew, without the old state."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._worker: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def call(self, name: str, arguments: Mapping[str, Json]) -> Json:
        """See `Caller`."""
        return await self._runner._in_thread(lambda cancelled: self._run(name, arguments, cancelled))

    def close(self) -> None:
        """End the process; a call under way ends it when it returns."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def _run(self, name: str, arguments: Mapping[str, Json], cancelled: threading.Event) -> WorkerAnswer:
        with self._lock:
            if self._worker is None or not self._worker.alive:
                self._worker = self._runner._start(self._worker)
            try:
                return self._worker.call(name, arguments, cancelled)
            finally:
                if self._closed:
                    self._end()

    def _end(self) -> None:
        if self._worker is not None:
            with self._runner._state.lock:
                self._runner._state.owned.discard(self._worker)
            self._worker.close()
            self._worker = None


def _shown(answer: WorkerAnswer) -> Json:
    return answer.printed if answer.value is None and answer.printed else answer.value
