"""Exchanges among processes over `torch.distributed`: messages by gloo, arrays by the library of their device.

Arrays are exchanged in blocks, since many small exchanges take longer than a large one. Sums are formed in the same
order in every run, and are the same to the bit in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from mentor_kit.backend.distributed.communicator import Bytes, Communicator
from mentor_kit.backend.distributed.peers import HINT, LOST, PeerWatch, listener
from mentor_kit.backend.distributed.serialization import pack, unpack
from mentor_kit.core.errors import BackendError, ExitCode
from mentor_kit_torch.launched import local_rank

#: Bytes of arrays in one exchange.
BLOCK = 1 << 26
#: How long messages are waited for: a tool or a teacher may take its time. A process that ends is noticed at once.
WAITING = timedelta(days=30)
#: How long an exchange of arrays may take, and the processes' finding one another.
EXCHANGING = timedelta(minutes=10)


class TorchCommunicator(Communicator[Tensor]):
    """Exchanges over a process group, which this makes.

    Args:
        rank: of this process.
        size: the number of processes.
        host: of the first process, where the others reach it.
        port: of the first process's store there; None where the launcher has made it.
        peers: notices that a process has ended; made here if left out.

    Raises:
        BackendError: the processes do not reach one another, or one has ended.
        SystemExit: one has ended, and another process says so.
    """

    def __init__(
        self, rank: int, size: int, host: str, port: int | None = None, peers: PeerWatch | None = None
    ) -> None:
        super().__init__(rank, size)
        self._peers = peers
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        where = "env://" if port is None else f"tcp://{host}:{port}"
        try:
            dist.init_process_group(backend, init_method=where, rank=rank, world_size=size, timeout=EXCHANGING)
            self._messages = dist.new_group(backend="gloo", timeout=WAITING)
            self._peers = peers or self._meet(host)
        except (RuntimeError, OSError) as error:
            if self._peers is not None and self._peers.lost() is not None:
                if self.is_silent():
                    raise SystemExit(ExitCode.FAILED) from None
                raise self._gone(error) from error
            raise BackendError(
                f"process {rank} of {size} does not reach the others: {error}",
                hint=f"they meet at {host}: let connections through, or start fewer processes",
            ) from error

    def copy_frame(self, frame: Bytes) -> Bytes:
        held = torch.from_numpy(np.array(frame))
        self._done(partial(dist.broadcast, held, 0, group=self._messages))
        return held.numpy()

    def gather_frames(self, frame: Bytes) -> Bytes:
        own = torch.from_numpy(np.array(frame))
        found = [torch.empty_like(own) for _ in range(self.size)]
        self._done(partial(dist.all_gather, found, own, group=self._messages))
        return torch.stack(found).numpy()

    def sum_arrays(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        for names in _blocks(arrays):
            flat = torch.cat([arrays[name].reshape(-1) for name in names])
            self._done(partial(dist.all_reduce, flat))
            _unpack(flat, [arrays[name] for name in names])
        return dict(arrays)

    def copy_arrays(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = dict(arrays) if self.is_leader else {name: torch.empty_like(a) for name, a in arrays.items()}
        for names in _blocks(found):
            flat = torch.cat([found[name].detach().reshape(-1) for name in names])
            self._done(partial(dist.broadcast, flat, 0))
            if not self.is_leader:
                _unpack(flat, [found[name] for name in names])
        return found

    def array_bytes(self, array: Tensor) -> int:
        return array.numel() * array.element_size()

    def largest(self, count: int) -> int:
        """The largest of the processes' numbers."""
        found = torch.tensor(count)
        self._done(partial(dist.all_reduce, found, dist.ReduceOp.MAX, group=self._messages))
        return int(found)

    @contextmanager
    def together(self) -> Iterator[None]:
        """As in the base class; errors of PyTorch's own exchanges name the process that is gone.

        Raises:
            BackendError: a process is gone.
        """
        with super().together():
            try:
                yield
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if self._peers is not None and self._peers.lost() is not None:
                    raise self._gone(error) from error
                raise

    def own_device(self, device: torch.device) -> torch.device:
        """The device of this process: a GPU of its own, where the device is a GPU.

        Raises:
            BackendError: there are more processes on this machine than GPUs.
        """
        if device.type != "cuda":
            return device
        count = torch.cuda.device_count()
        if local_rank() >= count:
            raise BackendError(
                f"process {self.rank} has no GPU of its own: this machine has {count}",
                hint="start as many processes on each machine as it has GPUs, or use `device: cpu`",
            )
        own = torch.device("cuda", local_rank())
        torch.cuda.set_device(own)
        return own

    def close(self, reason: str = "") -> None:
        if self._peers is not None:
            self._peers.close(reason)

    def is_silent(self) -> bool:
        return self._peers is None or not (self._peers.is_lost and self._peers.speaks)

    def _meet(self, host: str) -> PeerWatch:
        """Connect to the first process, or have the others connect to this one."""
        if self.is_leader:
            waiting, token = listener()
            self.send(pack([waiting.getsockname()[1], token]))
            return PeerWatch.accept(waiting, token, self.size)
        port, token = unpack(self.receive())
        return PeerWatch.connect(host, port, token, self.rank)

    def _done(self, exchange: Callable[[], Any]) -> None:
        """Take part in an exchange.

        Raises:
            BackendError: a process is gone.
        """
        try:
            if self._peers is None or not self._peers.is_lost:
                exchange()
                return
        except RuntimeError as error:
            raise self._gone(error) from error
        raise self._gone(None)

    def _gone(self, error: Exception | None) -> BackendError:
        why = self._peers.lost() if self._peers is not None else None
        if self._peers is not None and not self.is_leader and not self._peers.is_lost:
            self._peers.close(LOST)
        return BackendError(why or f"process {self.rank} of {self.size} lost the others: {error}", hint=HINT)


@torch.no_grad()
def _unpack(flat: Tensor, arrays: Iterable[Tensor]) -> None:
    """Copy parts of a flat array into arrays, in their order."""
    start = 0
    for array in arrays:
        array.copy_(flat[start : start + array.numel()].view(array.shape))
        start += array.numel()


def _blocks(arrays: Mapping[str, Tensor]) -> list[list[str]]:
    """The names, by device and type, in blocks of about `BLOCK` bytes; the same in every process."""
    found: list[list[str]] = []
    held, kind = BLOCK, None
    for name in sorted(arrays, key=lambda name: (arrays[name].device.type, str(arrays[name].dtype), name)):
        array = arrays[name]
        if held >= BLOCK or (array.device, array.dtype) != kind:
            found.append([])
            held, kind = 0, (array.device, array.dtype)
        found[-1].append(name)
        held += array.numel() * array.element_size()
    return found
