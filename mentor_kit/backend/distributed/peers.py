"""Notices at once that a process of the run has ended, and why.

The first process has a connection to each other one. The system closes it when a process ends, however that happens;
before that, a process writes a line there: nothing where the run ended as it should, or the reason. A process that
waits in an exchange with one that is gone, and is not woken up by an error, is ended after `GRACE` seconds.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self

#: Seconds after which a process ends that does not notice by itself that another one is gone.
GRACE = 15.0
#: Seconds for which a process that gets an error in an exchange waits for its reason.
PATIENCE = 3.0
#: Seconds that a process has to end by itself once it has noticed.
LEAVING = 30.0
#: Seconds for which connections are waited for.
CONNECTING = 300.0
#: What a process writes that ends as it should.
ENDED = "ended"
#: What a process writes that ends because another one is gone: not the reason.
LOST = "lost"
HINT = "`mentorkit run RECIPE --resume` resumes from the last checkpoint"


#: How a process of some rank has ended; empty where that is not known, or it has not.
Fate = Callable[[int], str]


def unknown(rank: int) -> str:
    """Nothing is known of how others end."""
    return ""


class PeerWatch:
    """The connections of this process to others of its run; see the module.

    Args:
        rank: of this process; 0 is the first.
        connections: by rank, to the first process, or from there to all others.
        fate: how a process has ended, where that is known here.
    """

    def __init__(self, rank: int, connections: Mapping[int, socket.socket], fate: Fate = unknown) -> None:
        self._rank, self._connections, self._fate = rank, dict(connections), fate
        self._said = dict.fromkeys(connections, b"")
        self._lost: str | None = None
        """Which process is gone, and why."""
        self._ended = threading.Event()
        """Set when the run ends, as it should or not."""
        self._closing = False
        self._deadline = float("inf")
        threading.Thread(target=self._watch, name="peers", daemon=True).start()

    @classmethod
    def accept(cls, listener: socket.socket, token: str, size: int, fate: Fate = unknown) -> Self:
        """The first process's watch, once all others have connected.

        Args:
            listener: from `listener`; closed here.
            token: from there.
            size: the number of processes.
            fate: as for this class.

        Raises:
            OSError: they did not within `CONNECTING` seconds, or one has ended.
        """
        connections: dict[int, socket.socket] = {}
        deadline = time.monotonic() + CONNECTING
        listener.settimeout(0.5)
        with listener:
            while len(connections) < size - 1:
                missing = sorted(set(range(1, size)) - connections.keys())
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    shown, _, rank = _line(connection).partition(" ")
                    if secrets.compare_digest(shown.encode(), token.encode()):
                        connections[int(rank)] = connection
                    else:
                        connection.close()
                    continue
                for absent in missing:
                    if why := fate(absent):
                        raise OSError(f"process {absent} ended: {why}")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"processes {missing} did not connect")
        return cls(0, connections, fate)

    @classmethod
    def connect(cls, host: str, port: int, token: str, rank: int) -> Self:
        """The watch of another process.

        Args:
            host: of the first process.
            port: of its listener.
            token: the one it expects.
            rank: of this process.

        Raises:
            OSError: the first one cannot be reached.
        """
        connection = socket.create_connection((host, port), timeout=CONNECTING)
        connection.settimeout(None)
        connection.sendall(f"{token} {rank}\n".encode())
        return cls(rank, {0: connection})

    @property
    def speaks(self) -> bool:
        """Whether this process says that another one is gone: the first, or the second of the first."""
        return self._rank <= 1

    def lost(self) -> str | None:
        """Which process is gone, and why; None where no reason arrives within `PATIENCE` seconds."""
        self._deadline = time.monotonic() + LEAVING
        self._ended.wait(PATIENCE)
        return self._lost

    @property
    def is_lost(self) -> bool:
        """Whether a process is known to be gone, now."""
        return self._lost is not None

    def close(self, reason: str = "") -> None:
        """Say that this process ends, and why, if that is not as it should."""
        self._closing = True
        line = f"{' '.join(reason.split()) or ENDED}\n".encode()
        for connection in self._connections.values():
            with suppress(OSError):  # it may be gone already
                connection.sendall(line)
                connection.shutdown(socket.SHUT_RDWR)

    def _watch(self) -> None:
        selector = selectors.DefaultSelector()
        for rank, connection in self._connections.items():
            selector.register(connection, selectors.EVENT_READ, rank)
        while not self._closing and time.monotonic() < self._deadline:
            for key, _ in selector.select(timeout=0.5):
                found = _received(self._connections[key.data])
                self._said[key.data] += found
                if not found:
                    selector.unregister(key.fileobj)
                    self._notice(key.data)
        if not self._closing:
            if self._lost is not None and self.speaks:
                sys.stderr.write(f"error: {self._lost}\n{HINT}\n")
                sys.stderr.flush()
            os._exit(1)

    def _notice(self, rank: int) -> None:
        said = self._said[rank].decode(errors="replace").strip()
        if self._deadline == float("inf"):
            self._deadline = time.monotonic() + GRACE
        if said == LOST or self._ended.is_set():
            return
        if said != ENDED:
            why = said or self._fate(rank) or "it was killed, ran out of memory, or its machine is gone"
            self._lost = f"process {rank} of the run ended: {why}"
        self._ended.set()


def listener() -> tuple[socket.socket, str]:
    """A socket for `PeerWatch.accept`, and a token that those which connect have to show."""
    return socket.create_server(("", 0), backlog=128), secrets.token_hex(16)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _line(connection: socket.socket) -> str:
    """The first line that a connection carries; empty where it is closed before, or takes too long."""
    found = b""
    connection.settimeout(10)
    try:
        while not found.endswith(b"\n") and len(found) < 1024:
            part = connection.recv(1)
            if not part:
                return ""
            found += part
    except OSError:
        return ""
    finally:
        connection.settimeout(None)
    return found.decode(errors="replace").strip()
