"""Messages, and sums and copies of arrays, among the processes of one run. All of them take part in every exchange."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = TypeVar("Array")
"""The backend's arrays."""
Bytes = NDArray[np.uint8]

#: Bytes of a message that one exchange carries; what is longer takes a second one.
FRAME = 1024
#: Bytes that a frame begins with: the length of its message.
LENGTH = 8


@dataclass
class Traffic:
    """Bytes that this process has put into exchanges, by kind."""

    messages: int = 0
    """How many messages were sent to all, or gathered from all."""
    message_bytes: int = 0
    summed_bytes: int = 0
    """Of arrays whose sums over all processes were taken."""
    copied_bytes: int = 0
    """Of arrays that were copied from the first process to all."""
    gathered_bytes: int = 0
    """Of arrays that were put together from the shards of all processes, counted whole."""
    scattered_bytes: int = 0
    """Of arrays whose sums over all processes were taken and kept in shards, counted whole."""


class Communicator(ABC, Generic[Array]):
    """The processes of one run, and this one's rank among them.

    Public methods count what is exchanged; a backend implements the primitives below them. All raise `BackendError`
    where a process is gone.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        """This process's place, from 0, and the number of processes."""
        self.traffic = Traffic()
        self.broken = False
        """Whether the others may wait for this process in an exchange that it cannot take part in any more."""
        self.together_errors: tuple[type[Exception], ...] = ()
        """What all processes raise together, so that none waits."""

    @property
    def is_leader(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def send(self, message: bytes) -> None:
        """Send a message to all others, which `receive` it."""
        self._count(message)
        self._broadcast(message)

    def receive(self) -> bytes:
        """The message that the first process sends."""
        return self._broadcast(b"")

    def gather(self, message: bytes) -> list[bytes]:
        """The messages of all processes, by rank, in every process."""
        self._count(message)
        heads = self.gather_frames(_frame(message))
        lengths = [int.from_bytes(head[:LENGTH].tobytes(), "little") for head in heads]
        longest = max(lengths) - (FRAME - LENGTH)
        rests = heads[:, :0] if longest <= 0 else self.gather_frames(_padded(message[FRAME - LENGTH :], longest))
        whole = (head[LENGTH:].tobytes() + rest.tobytes() for head, rest in zip(heads, rests, strict=True))
        return [message[:length] for message, length in zip(whole, lengths, strict=True)]

    def all_sum(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Sums over all processes of arrays, whose names, shapes and types are the same everywhere."""
        self.traffic.summed_bytes += sum(map(self.array_bytes, arrays.values()))
        return self.sum_arrays(arrays)

    def broadcast(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The first process's arrays, in every process; the others pass arrays of the same names, shapes and types."""
        self.traffic.copied_bytes += sum(map(self.array_bytes, arrays.values()))
        return self.copy_arrays(arrays)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A part of a method in which all processes exchange arrays: an error in it cannot be answered, only ended."""
        try:
            yield
        except BaseException as error:
            self.broken = not isinstance(error, self.together_errors)
            raise

    def _broadcast(self, message: bytes) -> bytes:
        """The first process's message, in every process; the others' is ignored."""
        whole = self.copy_frame(_frame(message)).tobytes()
        length, content = int.from_bytes(whole[:LENGTH], "little"), whole[LENGTH:]
        if (rest := length - len(content)) > 0:
            own = _padded(message[len(content) :], rest) if self.is_leader else np.zeros(rest, np.uint8)
            content += self.copy_frame(own).tobytes()
        return content[:length]

    def _count(self, message: bytes) -> None:
        self.traffic.messages += 1
        self.traffic.message_bytes += len(message)

    # the primitives of a backend

    @abstractmethod
    def copy_frame(self, frame: Bytes) -> Bytes:
        """The first process's bytes (n,), in every process; n is the same everywhere."""

    @abstractmethod
    def gather_frames(self, frame: Bytes) -> Bytes:
        """The bytes (size, n) of all processes; n is the same everywhere."""

    @abstractmethod
    def sum_arrays(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """As `all_sum`; the arrays given may be overwritten."""

    @abstractmethod
    def copy_arrays(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """As `broadcast`; new arrays in all but the first process."""

    @abstractmethod
    def array_bytes(self, array: Array) -> int:
        """The size of an array."""

    # what a backend may add

    def close(self, reason: str = "") -> None:
        """End this process's part, before it ends itself; the others learn the reason, where one is given."""
        return None

    def is_silent(self) -> bool:
        """Whether another process says why the run ends, so that this one need not."""
        return False


def describe_traffic(traffic: Traffic) -> dict[str, Any]:
    """Traffic as data, without what there was none of."""
    return {name: value for name, value in vars(traffic).items() if value}


def _frame(message: bytes) -> Bytes:
    return _padded(len(message).to_bytes(LENGTH, "little") + message[: FRAME - LENGTH], FRAME)


def _padded(message: bytes, size: int) -> Bytes:
    return np.frombuffer(message.ljust(size, b"\0"), np.uint8)
