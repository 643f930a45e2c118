"""The leader runs a worker's methods in every process, and the others follow it."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import itertools
import logging
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from mentor_kit.backend.distributed.communicator import Communicator
from mentor_kit.backend.distributed.peers import HINT, LEAVING
from mentor_kit.backend.distributed.serialization import pack, student_as_data, student_from_data, unpack
from mentor_kit.backend.distributed.worker import Worker
from mentor_kit.backend.folders import first_line
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core import errors
from mentor_kit.core.errors import BackendError, ExitCode, MentorKitError
from mentor_kit.core.frozen_model import Json

logger = logging.getLogger("mentor_kit")

#: Loads a policy in its process, from a student, the backend's options as data, and a seed.
MakeWorker = Callable[[StudentSpec, Json, int], Worker]


class Leader:
    """Runs methods of workers in every process, from the first one."""

    def __init__(self, communicator: Communicator[Any]) -> None:
        self.communicator = communicator
        self._numbers = itertools.count()
        self._alive: WeakValueDictionary[int, Worker] = WeakValueDictionary()
        self.in_step = True
        """Whether all processes wait for the next method."""
        atexit.register(self._stop)

    def load(self, make: MakeWorker, student: StudentSpec, options: Json, seed: int) -> LedWorker:
        """Load a policy in every process, and drop those that the first process has dropped."""
        number = next(self._numbers)
        made: list[Worker] = []
        arguments = {
            "student": student_as_data(student),
            "options": options,
            "seed": seed,
            "alive": sorted(self._alive),
        }
        self.run(number, "load", arguments, lambda: made.append(make(student, options, seed)))
        self._alive[number] = made[0]
        return LedWorker(self, number, made[0])

    def run(self, number: int, method: str, arguments: Json, own: Callable[[], Json]) -> list[Json]:
        """Run a method of a worker in every process; the results by rank.

        Raises:
            MentorKitError: of this process, or else of the first other one that raised; or a process is gone.
        """
        if not self.in_step:
            raise BackendError("the processes of the run are not all there any more", hint=HINT)
        self.in_step = False
        self.communicator.send(pack([number, method, arguments]))
        answer, error = _attempt(own)
        if error is not None and self.communicator.broken:
            raise error
        answers = [unpack(found) for found in self.communicator.gather(pack([answer, error and failure(error)]))]
        self.in_step = True
        if error is not None:
            raise error
        for rank, (_, failed) in enumerate(answers):
            if failed is not None:
                kind = getattr(errors, failed["kind"], BackendError)
                raise kind(f"process {rank}: {failed['message']}", hint=failed["hint"])
        return [answer for answer, _ in answers]

    def _stop(self) -> None:
        # others that are in the middle of a method find out that this process ends
        if self.in_step:
            with contextlib.suppress(BackendError):  # they may be gone already
                self.communicator.send(pack([-1, "stop", {}]))
        self.communicator.close()
        if not self.in_step:
            # exchanges that others have left can hold up the interpreter's own end, where no thread of Python's runs
            with contextlib.suppress(OSError):
                faulthandler.dump_traceback_later(LEAVING, exit=True, file=os.open(os.devnull, os.O_WRONLY))


class LedWorker:
    """A worker of the first process, whose methods run in every process."""

    def __init__(self, leader: Leader, number: int, worker: Worker) -> None:
        self._leader, self._number, self.worker = leader, number, worker

    @property
    def size(self) -> int:
        """The number of processes."""
        return self._leader.communicator.size

    @property
    def in_step(self) -> bool:
        """Whether all processes wait for the next method; else the run can only end."""
        return self._leader.in_step

    def run(self, method: str, **arguments: Json) -> list[Json]:
        """As `Leader.run`."""
        return self._leader.run(self._number, method, arguments, lambda: self.worker.run(method, arguments))


def follow(communicator: Communicator[Any], make: MakeWorker) -> None:
    """Run the methods that the first process sends, until it ends.

    Raises:
        BackendError: the first process is gone.
        SystemExit: the run cannot go on, and another process says why.
    """
    # Ctrl-C reaches every process; the first one decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _Follower(communicator, make).run()
    except BackendError:
        if communicator.is_silent():
            raise SystemExit(ExitCode.FAILED) from None
        raise


class _Follower:
    """Runs the methods that the first process sends."""

    def __init__(self, communicator: Communicator[Any], make: MakeWorker) -> None:
        self._communicator, self._make = communicator, make
        self._workers: dict[int, Worker] = {}

    def run(self) -> None:
        """Until the first process says `stop`."""
        while True:
            number, method, arguments = unpack(self._communicator.receive())
            if method == "stop":
                self._communicator.close()
                return
            answer, error = _attempt(partial(self._perform, number, method, arguments))
            if error is not None and self._communicator.broken:
                # the others wait in an exchange for this process, which has nothing to give
                if not self._communicator.is_silent():
                    raise error
                self._communicator.close(str(error))
                raise SystemExit(ExitCode.FAILED)
            self._communicator.gather(pack([answer, error and failure(error)]))

    def _perform(self, number: int, method: str, arguments: Json) -> Json:
        if method == "load":
            return self._load(number, **arguments)
        return self._workers[number].run(method, arguments)

    def _load(self, number: int, student: Json, options: Json, seed: int, alive: Sequence[int]) -> None:
        for other in set(self._workers) - set(alive):
            del self._workers[other]
        self._workers[number] = self._make(student_from_data(student), options, seed)


def failure(error: Exception) -> Json:
    """An error as data, for the first process."""
    if isinstance(error, MentorKitError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"kind": "BackendError", "message": f"{type(error).__name__}: {first_line(error)}", "hint": None}


def _attempt(run: Callable[[], Json]) -> tuple[Json, Exception | None]:
    try:
        return run(), None
    except MentorKitError as error:
        return None, error
    except Exception as error:
        logger.debug("a method failed", exc_info=True)
        return None, error
