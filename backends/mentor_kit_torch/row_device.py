"""Rows of sequences in PyTorch: what the core's engine asks of a transformers model.

A row holds what the model's layers keep (`mentor_kit_torch.row_states`). A long common prefix is kept once and attended
to beside each row's own keys and values (`mentor_kit_torch.row_attention`), where the model can attend in parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.kv_budget import POSITION_STEP, in_steps
from mentor_kit.backend.row_device import (
    Array,
    DecodingRows,
    DeviceMemoryError,
    ReadTokens,
    RowDevice,
    RowPass,
    SamplingParams,
)
from mentor_kit_torch.cuda_graphs import RecordedDecoding, Recorder
from mentor_kit_torch.decoding_state import KEY_STEP, DecodingState, decoding_pass, packed, reading, shape_of
from mentor_kit_torch.determinism import algorithms, named_determinism
from mentor_kit_torch.device_copy import to_device
from mentor_kit_torch.forward import ForwardPasses
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.row_states import TorchRowStates
from mentor_kit_torch.row_trial import RowAbilities
from mentor_kit_torch.sampling import DrawTensors, draw


class TorchRowDevice(RowDevice[Tensor]):
    """A `RowDevice` over a transformers model; see the module.

    Args:
        lm: the model.
        abilities: what rows of the model can do; one that keeps none runs whole contexts in every pass.
        attends_prefix: whether the model can attend in parts, so that a prefix need not be copied.
        recorder: decoding passes are recorded by it, and replayed; needs rows of keys and values.
        graph_memory: bytes that recordings may take.
        decodes: whether decoding is left to the device (`RowDevice.decodes`), where the model keeps rows that can be
            cut back; None: where it is another than the CPU.
    """

    def __init__(
        self,
        lm: TorchLMWrapper,
        abilities: RowAbilities,
        *,
        attends_prefix: bool,
        recorder: Recorder | None = None,
        graph_memory: int = 1 << 30,
        decodes: bool | None = None,
    ) -> None:
        self.keeps_rows = self.keeps_prefix = abilities.keeps
        self.attends_prefix = attends_prefix
        self._lm = lm
        kept = lm.config if abilities.keeps else None
        self._states, self._prefix = TorchRowStates(kept), TorchRowStates(kept)
        self.cuts_rows = self._states.cuts
        parts = attends_prefix or abilities.parts
        self._passes = ForwardPasses(lm, self._prefix, parts, continues=abilities.continues)
        self._recorded: RecordedDecoding | None = None
        if recorder is not None:
            self._recorded = RecordedDecoding(self._passes, self._states, recorder, graph_memory)
            self.attached_step = KEY_STEP  # a recording is for one length of the prefix
        # float64, which the draw needs, is not on every device
        self._draws_on = torch.device("cpu") if lm.device.type == "mps" else lm.device
        wanted = recorder is not None or lm.device.type not in ("cpu", "mps") if decodes is None else decodes
        self.decodes = wanted and abilities.keeps and self._states.cuts
        self._decoding: DecodingState | None = None
        self._sequences = 0
        """Of that state, those that were given."""

    @property
    def vocabulary(self) -> int:
        return self._lm.vocabulary

    @property
    def nbytes(self) -> int:
        """Bytes of all state that is allocated."""
        return self._states.nbytes + self._prefix.nbytes

    @contextmanager
    def activity(self, kind: Literal["prefill", "decode"]) -> Iterator[None]:
        try:
            with torch.inference_mode(), self._lm.meter.on(kind), named_determinism():
                yield
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(str(error)) from error

    def forward(self, batch: RowPass, last: Array) -> Tensor:
        hidden = self._hidden(batch)[: len(last)]
        if hidden.shape[1] == 1:
            return self._lm.logits(hidden[:, 0])
        return self._lm.logits(hidden[torch.arange(len(last), device=self._device), self._tensor(last)])

    def fill(self, batch: RowPass) -> None:
        self._hidden(batch)

    def pass_rows(self, needed: int) -> int:
        return needed if self._recorded is None else self._recorded.rows(needed)

    def draw(self, logits: Tensor, places: Array, params: SamplingParams) -> tuple[Array, Array]:
        if not np.array_equal(places, np.arange(len(logits))):
            logits = logits.index_select(0, self._tensor(places))
        logits = logits.to(self._draws_on)
        uniform = torch.from_numpy(params.uniform).to(self._draws_on)
        tokens, log_probs = draw(logits, DrawTensors.of(params, self._draws_on), uniform)
        if self._draws_on.type == "cpu":
            return tokens.numpy(), log_probs.numpy()
        return reading(packed(tokens, log_probs))()

    def begin_decoding(self, rows: DecodingRows) -> None:
        self._sequences = len(rows.known)
        if self._recorded is not None:
            self._decoding = self._recorded.state(rows)
            return
        self._decoding = DecodingState(shape_of(rows, len(rows.ids), len(rows.known)), self._device)
        self._decoding.put(rows)

    def decode(self, length: int) -> ReadTokens:
        assert self._decoding is not None
        # all that a pass writes has a place of its own
        with algorithms(deterministic=False):
            if self._recorded is not None:
                drawn = self._recorded.run(self._decoding, length)
            else:
                drawn = decoding_pass(self._passes, self._states, self._decoding, length)
        return reading(drawn[:, : self._sequences])

    def reserve(self, rows: int, positions: int) -> None:
        _make_way(self._prefix, not self._states.room_for(rows, positions))
        self._states.reserve(rows, positions)
        self._update()

    def copy(self, source: Array, target: Array, length: int) -> None:
        with torch.inference_mode():
            self._states.copy(self._states, source, target, length)

    def free(self) -> None:
        self._states.drop()
        self._prefix.drop()
        self._update()

    def forget(self) -> None:
        if self._recorded is None:
            self.free()
            return
        self._states.forget()
        self._prefix.forget()
        self._update()

    def hold_prefix(self, ids: Sequence[int], chunk: int) -> None:
        prefix, count = self._prefix, len(ids)
        if prefix.forgotten:
            too_long = prefix.room_for(1, in_steps(count) + 1)
        else:
            too_long = not 0 <= prefix.positions - count < POSITION_STEP
        if too_long:
            prefix.drop()
        _make_way(self._states, not prefix.room_for(1, in_steps(count)))
        prefix.reserve(1, in_steps(count))
        for start in range(0, count, chunk):
            tokens = np.array([ids[start : start + chunk]])
            end = start + tokens.shape[1]
            if not prefix.cuts:
                self._passes.take_in(prefix, tokens, np.array([start]), np.zeros(1, dtype=np.int64), _all(tokens))
                continue
            prefix.advance(np.zeros(1, dtype=np.int64), np.array([start]), _all(tokens))
            where = torch.arange(start, end, device=self._device)[None]
            self._passes.run(prefix, self._tensor(tokens), where, end, starts=np.array([start]))
        self._update()

    def copy_prefix(self, target: Array, length: int) -> None:
        self._states.copy(self._prefix, np.zeros(len(target), dtype=np.int64), target, length)

    def attach_prefix(self, length: int) -> None:
        self._states.base = length
        self._update()

    def copy_attached(self) -> None:
        self._states.take_base(self._prefix)
        self._update()

    def _hidden(self, batch: RowPass) -> Tensor:
        """Hidden states (n, T, width)."""
        states, start = self._states, batch.positions[:, 0]
        counts = _all(batch.ids) if batch.counts is None else batch.counts
        if not states.cuts:
            return self._passes.take_in(states, batch.ids, start, batch.rows, counts)
        ids, positions = self._tensor(batch.ids), self._tensor(batch.positions)
        if not self.keeps_rows:
            return self._lm.hidden(ids, positions)
        states.advance(np.arange(len(start)) if batch.rows is None else batch.rows, start, counts)
        chosen = None if batch.rows is None else self._tensor(batch.rows)
        return self._passes.run(self._states, ids, positions, batch.length, chosen, starts=start)

    def _update(self) -> None:
        """Say what is allocated."""
        self.rows, self.positions, self.attached = self._states.rows, self._states.positions, self._states.base
        self.prefix_positions = self._prefix.positions

    def _tensor(self, values: Array) -> Tensor:
        return to_device(torch.from_numpy(np.ascontiguousarray(values)), self._device)

    @property
    def _device(self) -> torch.device:
        return self._lm.device


def _make_way(other: TorchRowStates, needed: bool) -> None:
    """Free what is forgotten elsewhere where memory is needed: a limit is on both together."""
    if needed and other.forgotten:
        other.drop()


def _all(ids: Array) -> Array:
    """(n,): that each row takes in all of its tokens (n, T)."""
    return np.full(len(ids), ids.shape[1])
