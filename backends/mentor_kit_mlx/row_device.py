"""Rows of keys and values in MLX: what the core's engine asks of a model of mlx-lm.

mlx-lm's BatchGenerator cannot meet the contract of sampling: it drops the stop token, takes log-probabilities before
the temperature, does not say at which position a token is drawn, and pads on the left, so that a session's keys and
values move with its company. So mlx-lm's models are run here over a cache of our own (`mentor_kit_mlx.cache`).
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mentor_kit.backend.kv_budget import in_steps
from mentor_kit.backend.row_device import Array, RowDevice, RowPass, SamplingParams
from mentor_kit_mlx.cache import MLXRowCache
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.quantized import Quantized
from mentor_kit_mlx.sampling import draw


class MLXRowDevice(RowDevice[mx.array]):
    """A `RowDevice` over a model of mlx-lm; see the module.

    Args:
        lm: the model.
        keeps_rows: whether the model's keys and values can be kept in rows; else every pass runs whole contexts.
        quantized: how they are kept; None for as they are.
    """

    def __init__(self, lm: MLXLMWrapper, *, keeps_rows: bool, quantized: Quantized | None = None) -> None:
        self.keeps_rows = self.keeps_prefix = keeps_rows
        self._lm = lm
        self._cache = MLXRowCache(lm.layers, quantized)
        self._prefix = MLXRowCache(lm.layers, quantized)

    @property
    def vocabulary(self) -> int:
        return self._lm.vocabulary

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values that are allocated."""
        return self._cache.nbytes + self._prefix.nbytes

    def forward(self, batch: RowPass, last: Array) -> mx.array:
        hidden = self._hidden(batch)
        return self._lm.logits(hidden[mx.arange(len(last)), mx.array(last)])

    def fill(self, batch: RowPass) -> None:
        # keys and values are all that is wanted: what the last layer makes of them is never computed
        self._hidden(batch)
        self._cache.evaluate()

    def draw(self, logits: mx.array, places: Array, params: SamplingParams) -> tuple[Array, Array]:
        if not np.array_equal(places, np.arange(len(logits))):
            logits = logits[mx.array(places)]
        return draw(logits, params)

    def reserve(self, rows: int, positions: int) -> None:
        self._cache.reserve(rows, positions)
        self._update()

    def copy(self, source: Array, target: Array, length: int) -> None:
        self._cache.copy(self._cache, source, target, length)

    def free(self) -> None:
        self._cache.drop()
        self._prefix.drop()
        self._update()

    def hold_prefix(self, ids: Sequence[int], chunk: int) -> None:
        prefix, count = self._prefix, len(ids)
        if prefix.positions != in_steps(count):
            prefix.drop()
        prefix.reserve(1, in_steps(count))
        for start in range(0, count, chunk):
            tokens = ids[start : start + chunk]
            end = start + len(tokens)
            self._lm.hidden(mx.array([tokens]), prefix.aim(np.array([start]), len(tokens), end, [0]))
            prefix.evaluate()
        self._update()

    def copy_prefix(self, target: Array, length: int) -> None:
        self._cache.copy(self._prefix, np.zeros(len(target), dtype=np.int64), target, length)

    def _hidden(self, batch: RowPass) -> mx.array:
        """Hidden states (n, T, …)."""
        ids = mx.array(batch.ids)
        if not self.keeps_rows:
            return self._lm.hidden(ids)
        count, width = batch.ids.shape
        rows = range(count) if batch.rows is None else batch.rows.tolist()
        return self._lm.hidden(ids, self._cache.aim(batch.positions[:, 0], width, batch.length, rows))

    def _update(self) -> None:
        """Say what is allocated."""
        self.rows, self.positions = self._cache.rows, self._cache.positions
        self.prefix_positions = self._prefix.positions
