"""Decoding passes of few shapes, recorded once and replayed: CUDA graphs.

What a GPU does in a small student's decoding pass takes less time than launching it, operation by operation. A
recorded pass, from its rows' tokens to the next ones, is launched as one. It reads and writes the same memory whenever
it is replayed. So what it needs of rows is in a state of its own (`mentor_kit_torch.decoding_state`); the numbers of
its rows and keys are rounded up, which makes few shapes of many (rows without need run along, ignored, and keys without
meaning are masked); and everything is recorded anew once keys and values lie elsewhere.

Recordings are compared with plain passes when a student is loaded. Where they differ, cannot be made, or have no memory
left, passes are run plainly, and one line of the log says so.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.folders import first_line
from mentor_kit.backend.kv_budget import in_steps
from mentor_kit.backend.row_device import DecodingRows, DrawSettings
from mentor_kit.core.errors import BackendError
from mentor_kit_torch.decoding_state import DecodingShape, DecodingState, decoding_pass, shape_of
from mentor_kit_torch.determinism import algorithms
from mentor_kit_torch.forward import ForwardPasses, keys_read
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.row_states import TorchRowStates
from mentor_kit_torch.self_check import agree, shallow, trial_tokens

logger = logging.getLogger("mentor_kit_torch")

Work = Callable[[], Tensor]


class Recorder(Protocol):
    """Records work, and says what memory that takes."""

    def __call__(self, work: Work) -> Work:
        """Run work once or more, and give what does the same again with the memory that it used."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that all recordings take."""
        ...

    def clear(self) -> None:
        """Free them; none is replayed any more."""
        ...


#: Above so many rows, their number is rounded up to a multiple of it; below, to a power of two.
ROWS = 8


_LEAVE_OUT = "leave `backend.cuda_graphs` out"


class CudaGraphs:
    """A `Recorder`: graphs that share a pool of memory, as the result of one is used before the next is replayed.

    Args:
        device: on which all work is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            # one for all, as cuBLAS keeps a workspace for each stream
            self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.clear()

    def clear(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def __call__(self, work: Work) -> Work:
        with torch.cuda.device(self._device):
            return self._recorded(work)

    def _recorded(self, work: Work) -> Work:
        current = torch.cuda.current_stream()
        self._side.wait_stream(current)
        # what is set up in a first call, workspaces for example, belongs to no recording; and work that waits for the
        # device is refused here, where it leaves nothing behind
        with torch.cuda.stream(self._side), _waits_refused():
            work()
        current.wait_stream(self._side)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # so that what the pool takes is what the device has less of
        before = torch.cuda.mem_get_info()[0]
        graph = torch.cuda.CUDAGraph()
        # a capture that breaks would leave its stream to be the current one, the allocator in it, and before PyTorch
        # 2.13 the random numbers, so that dropout would be refused
        with torch.cuda.stream(current):
            try:
                with torch.cuda.graph(graph, pool=self._pool, stream=self._side):
                    found = work()
            except RuntimeError:
                with suppress(RuntimeError):
                    torch._C._cuda_endAllocateToPool(current.device_index, self._pool)
                numbers = torch.cuda.default_generators[current.device_index]
                numbers.graphsafe_set_state(numbers.clone_state())
                raise
        self._nbytes += max(before - torch.cuda.mem_get_info()[0], 0)

        def replay() -> Tensor:
            graph.replay()
            return found

        return replay


@contextmanager
def _waits_refused() -> Iterator[None]:
    """Have PyTorch refuse what waits for the device, with a `RuntimeError`."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it does not find everything, as it says
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def cuda_graphs(device: torch.device, keeps: bool) -> Recorder:
    """A recorder for a model on a device that is asked to have one.

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
    return CudaGraphs(device)


def has_cuda_graphs(device: torch.device, keeps: bool) -> bool:
    """Whether `cuda_graphs` gives a recorder."""
    return device.type == "cuda" and keeps


class RecordedDecoding:
    """Runs decoding passes, each shape of them recorded.

    Args:
        passes: run what is recorded.
        rows: theirs.
        recorder: what a recording is; `CudaGraphs` but in tests.
        limit: bytes that recordings may take; the one that exceeds it is the last. None: a trial, whose recordings
            must not fail.
    """

    def __init__(self, passes: ForwardPasses, rows: TorchRowStates, recorder: Recorder, limit: int | None) -> None:
        self._passes = passes
        self._rows = rows
        self._recorder = recorder
        self._limit = limit
        self._states: dict[DecodingShape, DecodingState] = {}
        self._recordings: dict[tuple[DecodingShape, int, int], Work] = {}
        self._memory: tuple[int, ...] = ()
        """Which buffers the recordings use."""
        self._fault = ""
        """Why nothing is recorded any more."""

    def rows(self, wanted: int) -> int:
        """How many rows a pass should have that needs so many; they are allocated."""
        return max(wanted, min(_rounded(wanted), self._rows.rows))

    def state(self, given: DecodingRows) -> DecodingState:
        """The state that passes over given rows read and write, with them in it."""
        shape = shape_of(given, len(given.ids), _rounded(len(given.known)))
        if shape not in self._states:
            self._states[shape] = DecodingState(shape, self._passes.lm.device)
        state = self._states[shape]
        state.put(given)
        return state

    def run(self, state: DecodingState, length: int) -> Tensor:
        """As `decoding_pass`; what it gives holds until the next pass."""
        base = self._rows.base
        length = base + in_steps(max(length - base, 1))
        memory = (self._rows.moves, self._passes.beginning.moves)
        if memory != self._memory:
            self._memory = memory
            self._clear()
        replay = self._recordings.get((state.shape, length, base)) or self._record(state, length)
        if replay is None:
            return decoding_pass(self._passes, self._rows, state, length)
        count, meter = state.shape.rows, self._passes.lm.meter
        meter.ran(count, pairs=count * length, keys=keys_read(count, length, base))
        meter.projected(count)
        return replay()

    def _record(self, state: DecodingState, length: int) -> Work | None:
        """What replays a pass; None where it cannot be recorded."""
        if self._full and any(base != self._rows.base for *_, base in self._recordings):
            self._clear()  # those behind another beginning may never be replayed again
        if self._fault or self._full:
            self._leave_out(self._fault or "`backend.graph_memory` is used up")
            return None
        saved = state.saved()
        try:
            with self._passes.lm.meter.off():
                replay = self._recorder(lambda: decoding_pass(self._passes, self._rows, state, length))
        except RuntimeError as error:  # running out of memory is one
            if self._limit is None:
                raise
            state.restore(saved)
            self._leave_out(first_line(error))
            return None
        state.restore(saved)
        self._recordings[state.shape, length, self._rows.base] = replay
        return replay

    @property
    def _full(self) -> bool:
        return self._limit is not None and self._recorder.nbytes > self._limit

    def _clear(self) -> None:
        self._recordings = {}
        self._recorder.clear()

    def _leave_out(self, fault: str) -> None:
        if not self._fault:
            logger.warning("decoding passes of further shapes are not recorded as CUDA graphs: %s", fault)
        self._fault = fault


@dataclass(frozen=True)
class _Trial:
    """Rows of three decoding passes, the last one behind a step of the length that passes are rounded up to."""

    sequences: int
    base: int
    """Tokens of a beginning that is kept once for all; 0 for none."""
    top_p: float

    def given(self, ids: Tensor, rows: int) -> DecodingRows:
        """The last of some tokens (sequences, 5) and what is drawn behind them, in so many rows."""
        count, idle = self.sequences, rows - self.sequences
        return DecodingRows(
            ids=np.concatenate([ids[:, 4].cpu().numpy(), np.zeros(idle, np.int64)]),
            positions=np.concatenate([np.full(count, 4), np.full(idle, self.base)]),
            places=np.arange(count),
            feeds=np.concatenate([np.arange(count), np.full(idle, -1)]),
            settings=DrawSettings(
                np.ones(count, np.float32), np.full(count, self.top_p, np.float32), np.zeros(count, np.int64)
            ),
            seeds=np.arange(count, dtype=np.uint64),
            known=np.full(count, 5),
            limits=np.full(count, 8),
            stops=[frozenset()] * count,
        )


#: As many rows as are needed; rows that idle, behind a kept beginning, whose draws are filtered.
_TRIALS = (_Trial(sequences=2, base=0, top_p=1.0), _Trial(sequences=3, base=2, top_p=0.9))


@torch.no_grad()
def recording_fault(lm: TorchLMWrapper, parts: bool, recorder: Recorder) -> str:
    """Why recordings of a model's passes are not to be used; empty where they give what plain passes give.

    Args:
        lm: whose layers keep keys and values in rows.
        parts: as of `ForwardPasses`.
        recorder: to try.
    """
    trials = [trial if parts else replace(trial, base=0) for trial in _TRIALS]
    try:
        with shallow(lm), algorithms(deterministic=False):
            for trial in trials:
                plain, recorded = _outcome(lm, parts, trial, None), _outcome(lm, parts, trial, recorder)
                log_probs = (found[:, 1].contiguous().view(torch.float64) for found in (plain, recorded))
                if not (torch.equal(plain[:, 0], recorded[:, 0]) and agree(lm, *log_probs)):
                    return "they give other results than plain passes on this machine"
    except RuntimeError as error:
        return first_line(error)
    finally:
        recorder.clear()
    return ""


def _outcome(lm: TorchLMWrapper, parts: bool, trial: _Trial, recorder: Recorder | None) -> Tensor:
    """(3, 2, sequences): what three decoding passes give behind four tokens."""
    rows, beginning = TorchRowStates(lm.config), TorchRowStates(lm.config)
    passes = ForwardPasses(lm, beginning, parts)
    ids, places = (part.repeat(2, 1)[: trial.sequences] for part in trial_tokens(lm))
    count, lengths = _rounded(trial.sequences), [trial.base + in_steps(known) for known in (5, 6, in_steps(7) + 1)]
    rows.reserve(count, max(lengths))
    if trial.base:
        beginning.reserve(1, in_steps(trial.base))
        passes.run(beginning, ids[:1, : trial.base], places[:1, : trial.base], trial.base)
        rows.base = trial.base
    passes.run(rows, ids[:, trial.base : 4], places[:, trial.base : 4], 4)
    given = trial.given(ids, count)
    # of the same shapes, as others may round otherwise and draw other tokens
    if recorder is None:
        state = DecodingState(shape_of(given, count, count), lm.device)
        state.put(given)
        found = [decoding_pass(passes, rows, state, length) for length in lengths]
    else:
        recorded = RecordedDecoding(passes, rows, recorder, limit=None)
        state = recorded.state(given)
        found = [recorded.run(state, length).clone() for length in lengths]
    return torch.stack(found)[:, :, : trial.sequences]


def _rounded(rows: int) -> int:
    return -(-rows // ROWS) * ROWS if rows > ROWS else 1 << (rows - 1).bit_length()
