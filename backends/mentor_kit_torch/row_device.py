"""Rows of keys and values in PyTorch: what the core's engine asks of a transformers model.

A long common prefix is kept once and attended to beside each row's own keys and values
(`mentor_kit_torch.row_attention`), where the model can attend in parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.kv_budget import POSITION_STEP, in_steps
from mentor_kit.backend.row_device import Array, DeviceMemoryError, RowDevice, RowPass, SamplingParams
from mentor_kit_torch.cache import TorchRowCache
from mentor_kit_torch.cuda_graphs import RecordedDecoding, Recorder
from mentor_kit_torch.forward import ForwardPasses
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.sampling import draw


class TorchRowDevice(RowDevice[Tensor]):
    """A `RowDevice` over a transformers model; see the module.

    Args:
        lm: the model.
        keeps_rows: whether the model's keys and values can be kept in rows; else every pass runs whole contexts.
        attends_prefix: whether the model can attend in parts, so that a prefix need not be copied.
        recorder: decoding passes are recorded by it, and replayed; needs `keeps_rows`.
    """

    def __init__(
        self, lm: TorchLMWrapper, *, keeps_rows: bool, attends_prefix: bool, recorder: Recorder | None = None
    ) -> None:
        self.keeps_rows = self.keeps_prefix = keeps_rows
        self.attends_prefix = attends_prefix
        self._lm = lm
        self._cache = TorchRowCache(lm.layers)
        self._prefix = TorchRowCache(lm.layers)
        self._passes = ForwardPasses(lm, self._prefix, attends_prefix)
        self._recorded = None if recorder is None else RecordedDecoding(self._passes, self._cache, recorder)
        # float64, which the draw needs, is not on every device
        self._draws_on = torch.device("cpu") if lm.device.type == "mps" else lm.device

    @property
    def vocabulary(self) -> int:
        return self._lm.vocabulary

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values that are allocated."""
        return self._cache.nbytes + self._prefix.nbytes

    @contextmanager
    def activity(self, kind: Literal["prefill", "decode"]) -> Iterator[None]:
        try:
            with torch.inference_mode(), self._lm.meter.on(kind):
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
        tokens, log_probs = draw(logits.to(self._draws_on), params)
        return tokens.cpu().numpy(), log_probs.cpu().numpy()

    def reserve(self, rows: int, positions: int) -> None:
        self._cache.reserve(rows, positions)
        self._update()

    def copy(self, source: Array, target: Array, length: int) -> None:
        with torch.inference_mode():
            self._cache.copy(source, target, length)

    def free(self) -> None:
        self._cache.drop()
        self._prefix.drop()
        self._update()

    def hold_prefix(self, ids: Sequence[int], chunk: int) -> None:
        prefix, count = self._prefix, len(ids)
        if not 0 <= prefix.positions - count < POSITION_STEP:
            prefix.drop()
        prefix.reserve(1, in_steps(count))
        for start in range(0, count, chunk):
            tokens = torch.tensor([ids[start : start + chunk]], device=self._device)
            end = start + tokens.shape[1]
            self._passes.run(prefix, tokens, torch.arange(start, end, device=self._device).unsqueeze(0), end)
        self._update()

    def copy_prefix(self, target: Array, length: int) -> None:
        self._cache.take(self._prefix, target, length)

    def attach_prefix(self, length: int) -> None:
        self._cache.base = length
        self._update()

    def copy_attached(self) -> None:
        self._cache.take_base(self._prefix)
        self._update()

    def _hidden(self, batch: RowPass) -> Tensor:
        """Hidden states (n, T, width)."""
        ids, positions = self._tensor(batch.ids), self._tensor(batch.positions)
        if not self.keeps_rows:
            return self._lm.hidden(ids, positions)
        if batch.rows is not None:
            return self._passes.run(self._cache, ids, positions, batch.length, self._tensor(batch.rows))
        if self._recorded is not None:
            return self._recorded.run(ids, positions, batch.length)
        return self._passes.run(self._cache, ids, positions, batch.length)

    def _update(self) -> None:
        """Say what is allocated."""
        self.rows, self.positions, self.attached = self._cache.rows, self._cache.positions, self._cache.base
        self.prefix_positions = self._prefix.positions

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)

    @property
    def _device(self) -> torch.device:
        return self._lm.device
