"""Messages, and sums and copies of arrays, among the processes of one run. All of them take part in every exchange."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Array = TypeVar("Array")
"""The backend's arrays."""


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


class Communicator(ABC, Generic[Array]):
    """The processes of one run, and this one's rank among them.

    Public methods count what is exchanged; a backend implements the primitives below them.
    """

    rank: int
    """This process's place, from 0."""
    size: int
    """The number of processes."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.traffic = Traffic()

    @property
    def is_leader(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def send(self, message: bytes) -> None:
        """Send a message to all others, which `receive` it.

        Raises:
            BackendError: a process is gone; as every method here.
        """
        self._count(message)
        self.broadcast_message(message)

    def receive(self) -> bytes:
        """The message that the first process sends."""
        return self.broadcast_message(b"")

    def gather(self, message: bytes) -> list[bytes]:
        """The messages of all processes, by rank, in every process."""
        self._count(message)
        return self.gather_messages(message)

    def all_sum(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Sums over all processes of arrays, whose names, shapes and types are the same everywhere."""
        self.traffic.summed_bytes += sum(map(self.array_bytes, arrays.values()))
        return self.sum_arrays(arrays)

    def broadcast(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The first process's arrays, in every process; the others pass arrays of the same names, shapes and types."""
        self.traffic.copied_bytes += sum(map(self.array_bytes, arrays.values()))
        return self.copy_arrays(arrays)

    def _count(self, message: bytes) -> None:
        self.traffic.messages += 1
        self.traffic.message_bytes += len(message)

    # the primitives of a backend

    @abstractmethod
    def broadcast_message(self, message: bytes) -> bytes:
        """The first process's message, in every process; the others' is ignored."""

    @abstractmethod
    def gather_messages(self, message: bytes) -> list[bytes]:
        """As `gather`."""

    @abstractmethod
    def sum_arrays(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """As `all_sum`; the arrays given may be overwritten."""

    @abstractmethod
    def copy_arrays(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """As `broadcast`; the arrays given may be overwritten in all but the first process."""

    @abstractmethod
    def array_bytes(self, array: Array) -> int:
        """The size of an array."""
