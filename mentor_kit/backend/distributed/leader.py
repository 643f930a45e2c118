"""The leader runs a worker's methods in every process, and the others follow it."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from mentor_kit.backend.distributed.communicator import Communicator
from mentor_kit.backend.distributed.serialization import pack, student_as_data, student_from_data, unpack
from mentor_kit.backend.distributed.worker import Worker
from mentor_kit.backend.folders import first_line
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core import errors
from mentor_kit.core.errors import BackendError, MentorKitError
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
        self._in_step = True
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
            MentorKitError: of this process, or else of the first other one that raised.
        """
        self._in_step = False
        self.communicator.send(pack([number, method, arguments]))
        answer, error = _attempt(own)
        answers = [unpack(found) for found in self.communicator.gather(pack([answer, error and failure(error)]))]
        self._in_step = True
        if error is not None:
            raise error
        for rank, (_, failed) in enumerate(answers):
            if failed is not None:
                kind = getattr(errors, failed["kind"], BackendError)
                raise kind(f"process {rank}: {failed['message']}", hint=failed["hint"])
        return [answer for answer, _ in answers]

    def _stop(self) -> None:
        # others that are in the middle of a method find out when this process has ended
        if self._in_step:
            with contextlib.suppress(BackendError):  # they may be gone already
                self.communicator.send(pack([-1, "stop", {}]))


class LedWorker:
    """A worker of the first process, whose methods run in every process."""

    def __init__(self, leader: Leader, number: int, worker: Worker) -> None:
        self._leader, self._number, self.worker = leader, number, worker

    @property
    def size(self) -> int:
        """The number of processes."""
        return self._leader.communicator.size

    def run(self, method: str, **arguments: Json) -> list[Json]:
        """As `Leader.run`."""
        return self._leader.run(self._number, method, arguments, lambda: self.worker.run(method, arguments))


def follow(communicator: Communicator[Any], make: MakeWorker) -> None:
    """Run the methods that the first process sends, until it ends.

    Raises:
        BackendError: the first process is gone.
    """
    workers: dict[int, Worker] = {}

    def begin(number: int, student: Json, options: Json, seed: int, alive: Sequence[int]) -> None:
        for other in set(workers) - set(alive):
            del workers[other]
        workers[number] = make(student_from_data(student), options, seed)

    # Ctrl-C reaches every process; the first one decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        number, method, arguments = unpack(communicator.receive())
        if method == "stop":
            return
        if method == "load":
            answer, error = _attempt(partial(begin, number, **arguments))
        else:
            answer, error = _attempt(partial(workers[number].run, method, arguments))
        communicator.gather(pack([answer, error and failure(error)]))


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
