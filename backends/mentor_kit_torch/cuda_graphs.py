"""Decoding passes of few shapes, recorded once and replayed: CUDA graphs.

What a GPU does in a small student's decoding pass takes less time than launching it, operation by operation. A
recorded pass is launched as one. It reads and writes the same memory whenever it is replayed. So tokens and places are
put into inputs of its own; the numbers of its rows and keys are rounded up, which makes few shapes of many (rows
without need run along, ignored, and keys without meaning are masked); and everything is recorded anew once keys and
values lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mentor_kit.backend.kv_budget import in_steps
from mentor_kit.core.errors import BackendError
from mentor_kit_torch.forward import ForwardPasses, keys_read
from mentor_kit_torch.row_states import TorchRowStates

Work = Callable[[], Tensor]
Recorder = Callable[[Work], Work]
"""Runs work once or more, and gives what does the same again with the memory that it used."""

#: Above so many rows, their number is rounded up to a multiple of it; below, to a power of two.
ROWS = 8


_LEAVE_OUT = "leave `backend.cuda_graphs` out"


class CudaGraphs:
    """A `Recorder`: graphs that share a pool of memory, as the result of one is used before the next is replayed."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()  # what is set up in a first call, workspaces for example, belongs to no recording
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            found = work()

        def replay() -> Tensor:
            graph.replay()
            return found

        return replay


def cuda_graphs(device: torch.device, keeps: bool) -> Recorder:
    """A recorder for a model on a device.

    Args:
        device: the model's.
        keeps: whether its layers keep keys and values in rows, and nothing else.

    Raises:
        BackendError: there are no CUDA graphs for it.
    """
    if device.type != "cuda":
        raise BackendError(f"backend.cuda_graphs: the student is on {device}, not on CUDA", hint=_LEAVE_OUT)
    if not keeps:
        raise BackendError(
            "backend.cuda_graphs: the student's layers keep other state than keys and values", hint=_LEAVE_OUT
        )
    return CudaGraphs()


@dataclass(frozen=True)
class _Recording:
    ids: Tensor
    where: Tensor
    replay: Work


class RecordedDecoding:
    """Runs passes of one token a row, each shape of them recorded.

    Args:
        passes: run what is recorded.
        states: of the rows.
        recorder: what a recording is; `CudaGraphs` but in tests.
    """

    def __init__(self, passes: ForwardPasses, states: TorchRowStates, recorder: Recorder) -> None:
        self._passes = passes
        self._states = states
        self._recorder = recorder
        self._recordings: dict[tuple[int, int, int], _Recording] = {}
        self._memory: tuple[int, ...] = ()
        """Which buffers the recordings use."""

    def rows(self, wanted: int) -> int:
        """How many rows a pass should have that needs so many; they are allocated."""
        rounded = -(-wanted // ROWS) * ROWS if wanted > ROWS else 1 << (wanted - 1).bit_length()
        return max(wanted, min(rounded, self._states.rows))

    def run(self, ids: Tensor, where: Tensor, length: int) -> Tensor:
        """As `ForwardPasses.run` for the first rows' next tokens (n, 1); what it gives holds until the next pass.

        Raises:
            BackendError: the model's passes cannot be recorded.
        """
        base = self._states.base
        length = base + in_steps(max(length - base, 1))
        memory = (self._states.moves, self._passes.beginning.moves)
        if memory != self._memory:
            self._recordings, self._memory = {}, memory
        shape = (len(ids), length, base)
        if (recording := self._recordings.get(shape)) is None:
            recording = self._recordings[shape] = self._record(ids, where, length)
        recording.ids.copy_(ids)
        recording.where.copy_(where)
        self._passes.lm.meter.ran(len(ids), pairs=len(ids) * length, keys=keys_read(len(ids), length, base))
        return recording.replay()

    def _record(self, ids: Tensor, where: Tensor, length: int) -> _Recording:
        ids, where = ids.clone(), where.clone()
        with self._passes.lm.meter.off():
            try:
                replay = self._recorder(lambda: self._passes.run(self._states, ids, where, length))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise BackendError(
                    f"this model's passes cannot be recorded as CUDA graphs: {str(error).splitlines()[0]}",
                    hint=_LEAVE_OUT,
                ) from error
        return _Recording(ids, where, replay)
