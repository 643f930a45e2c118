"""Processes that notice how others end, over real connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from mentor_kit.backend.distributed.peers import PeerWatch, listener


@contextmanager
def leading(fate: str = "") -> Iterator[tuple[PeerWatch, socket.socket, str, int]]:
    """The first of two processes, and the connection of the other; a stranger tried to connect before."""
    waiting, token = listener()
    port = waiting.getsockname()[1]
    with ThreadPoolExecutor() as pool:
        accepted = pool.submit(PeerWatch.accept, waiting, token, 2, lambda rank: fate)
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"guess 1\n")
            assert stranger.recv(1) == b""
        other = socket.create_connection(("127.0.0.1", port))
        other.sendall(f"{token} 1\n".encode())
        leader = accepted.result(timeout=300)
    try:
        yield leader, other, token, port
    finally:
        leader.close()
        other.close()


@pytest.mark.parametrize(
    ("line", "fate", "reasons"),
    [
        (b"out of memory\n", "SIGKILL killed it", ["process 1", "out of memory"]),
        (b"", "SIGKILL killed it", ["process 1", "SIGKILL killed it"]),
        (b"", "", ["process 1"]),
    ],
)
def test_a_process_that_ends_is_named_with_its_reason(line: bytes, fate: str, reasons: list[str]) -> None:
    with leading(fate) as (leader, other, *_):
        assert not leader.is_lost
        other.sendall(line)
        other.close()
        lost = leader.lost()
        assert lost is not None
        assert all(reason in lost for reason in reasons)
        assert ("SIGKILL" in lost) == ("SIGKILL" in "".join(reasons))


def test_a_process_that_ends_as_it_should_is_not_lost() -> None:
    waiting, token = listener()
    port = waiting.getsockname()[1]
    with ThreadPoolExecutor() as pool:
        accepted = pool.submit(PeerWatch.accept, waiting, token, 2)
        follower = PeerWatch.connect("127.0.0.1", port, token, 1)
        leader = accepted.result(timeout=300)
    follower.close()
    try:
        assert leader.lost() is None
    finally:
        leader.close()


def test_a_process_that_ends_before_it_connects_is_not_waited_for() -> None:
    waiting, token = listener()
    with pytest.raises(OSError, match="exit code 3"):
        PeerWatch.accept(waiting, token, 2, lambda rank: "exit code 3")
