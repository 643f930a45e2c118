"""The processes of a run: those that `torchrun` started, or followers that the first process starts on this machine."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from functools import cache

import torch

from mentor_kit.backend.distributed.peers import HINT, PeerWatch, listener
from mentor_kit.core.errors import BackendError, ExitCode, UsageError
from mentor_kit_torch.communicator import TorchCommunicator
from mentor_kit_torch.launched import launched

LOCALHOST = "127.0.0.1"
#: The environment variable by which followers find the first process's watch: its port and token.
PEERS = "MENTORKIT_PEERS"
#: Seconds that followers have to end once the first process does.
LEAVING = 10.0


@cache
def joined() -> TorchCommunicator | None:
    """The processes that a launcher started with this one; None where there are none."""
    place = launched()
    if place is None:
        return None
    return TorchCommunicator(place.rank, place.size, place.host, peers=_own_peers(place.rank))


@cache
def started(size: int) -> TorchCommunicator:
    """This process and followers, which it starts."""
    return _Followers(size).communicator


def processes(wanted: int | None) -> TorchCommunicator | None:
    """The processes of this run; None where this one is alone.

    Args:
        wanted: by the option `processes`; None for those of the launcher.

    Raises:
        UsageError: a launcher started another number.
        BackendError: they do not reach one another.
    """
    found = launched()
    if found is not None and wanted not in (None, found.size):
        raise UsageError(
            f"backend.processes is {wanted}, and {found.size} processes were launched",
            hint="leave one of them out: `torchrun` starts processes, or the option does",
        )
    if found is not None:
        return joined()
    return started(wanted) if wanted is not None and wanted > 1 else None


class _Followers:
    """Processes of this machine that follow this one."""

    def __init__(self, size: int) -> None:
        threads = max(1, torch.get_num_threads() // size)
        torch.set_num_threads(threads)
        waiting, token = listener()
        port = _free_port()
        common = os.environ | {
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": LOCALHOST,
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": str(threads),
            PEERS: f"{waiting.getsockname()[1]} {token}",
        }
        # in sessions of their own, so that Ctrl-C reaches this process alone, which decides when to stop
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", "mentor_kit_torch.follower"],
                env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            for rank in range(1, size)
        ]
        atexit.register(self._end)
        try:
            peers = PeerWatch.accept(waiting, token, size, self._fate)
        except OSError as error:
            raise BackendError(f"the processes of the run did not start: {error}") from error
        self.communicator = TorchCommunicator(0, size, LOCALHOST, port, peers)

    def _fate(self, rank: int) -> str:
        """How a follower has ended; empty where it has not, or not within a second."""
        try:
            code = self._processes[rank - 1].wait(timeout=1)
        except subprocess.TimeoutExpired:
            return ""
        return f"{signal.Signals(-code).name} killed it" if code < 0 else f"exit code {code}"

    def _end(self) -> None:
        deadline = time.monotonic() + LEAVING
        for process in self._processes:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.create_server((LOCALHOST, 0)) as found:
        return int(found.getsockname()[1])


def _own_peers(rank: int) -> PeerWatch | None:
    """The watch of a follower that the first process started; None for one that a launcher started.

    Raises:
        BackendError: the first process is gone.
        SystemExit: it is, and another process says so.
    """
    if PEERS not in os.environ:
        return None
    port, token = os.environ[PEERS].split()
    try:
        return PeerWatch.connect(LOCALHOST, int(port), token, rank)
    except OSError as error:
        if rank > 1:  # the second process says it
            raise SystemExit(ExitCode.FAILED) from None
        raise BackendError(f"process 0 of the run ended while process {rank} was starting", hint=HINT) from error
