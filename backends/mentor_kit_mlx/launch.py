"""The processes that `mlx.launch` started: messages and sums of arrays among them.

Any of MLX's communication backends works, as all processes take part in every exchange.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit.backend.distributed.communicator import Bytes, Communicator
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.params import Arrays

#: Bytes of arrays that are summed in one exchange.
BLOCK = 1 << 26
#: Environment variables that launchers set for the processes they start.
LAUNCHED = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


class MLXCommunicator(Communicator[mx.array]):
    """Exchanges over a group of `mlx.distributed`."""

    def __init__(self, group: Any) -> None:
        self._group = group
        super().__init__(group.rank(), group.size())

    def copy_frame(self, frame: Bytes) -> Bytes:
        # the others add zeros, so that the sum is the first process's
        return np.array(self._sum(mx.array(frame if self.is_leader else np.zeros_like(frame))))

    def gather_frames(self, frame: Bytes) -> Bytes:
        return np.array(self._done(mx.distributed.all_gather(mx.array(frame)[None], group=self._group)))

    def sum_arrays(self, arrays: Mapping[str, mx.array]) -> Arrays:
        found: Arrays = {}
        for names in _blocks(arrays):
            flat = self._sum(mx.concatenate([arrays[name].reshape(-1) for name in names]))
            ends = np.cumsum([arrays[name].size for name in names]).tolist()
            pieces = mx.split(flat, ends[:-1])
            found |= {name: piece.reshape(arrays[name].shape) for name, piece in zip(names, pieces, strict=True)}
        return found

    def copy_arrays(self, arrays: Mapping[str, mx.array]) -> Arrays:
        own = arrays if self.is_leader else {name: mx.zeros_like(value) for name, value in arrays.items()}
        return {name: self._sum(own[name]) for name in sorted(own)}

    def array_bytes(self, array: mx.array) -> int:
        return int(array.nbytes)

    def _sum(self, array: mx.array) -> mx.array:
        found: mx.array = mx.distributed.all_sum(array, group=self._group)
        return self._done(found)

    def _done(self, array: mx.array) -> mx.array:
        try:
            mx.eval(array)
        except RuntimeError as error:
            raise BackendError(
                f"process {self.rank} of {self.size} lost the others: {error}",
                hint="the first one to stop printed why; `mentorkit run --resume` resumes from the last checkpoint",
            ) from error
        return array


@cache
def processes() -> MLXCommunicator | None:
    """The processes that were launched with this one; None where there are no others."""
    if not any(name in os.environ for name in LAUNCHED):
        return None
    group = mx.distributed.init()
    return MLXCommunicator(group) if group.size() > 1 else None


def _blocks(arrays: Mapping[str, mx.array]) -> list[list[str]]:
    """The names, by type, in blocks of about `BLOCK` bytes; the same on every process."""
    found: list[list[str]] = []
    held, kind = BLOCK, None
    for name in sorted(arrays, key=lambda name: (str(arrays[name].dtype), name)):
        if held >= BLOCK or arrays[name].dtype != kind:
            found.append([])
            held, kind = 0, arrays[name].dtype
        found[-1].append(name)
        held += arrays[name].nbytes
    return found
