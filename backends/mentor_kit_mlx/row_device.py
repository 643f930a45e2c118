"""Rows of sequences in MLX: what the core's engine asks of a model of mlx-lm.

mlx-lm's BatchGenerator cannot meet the contract of sampling: it drops the stop token, takes log-probabilities before
the temperature, does not say at which position a token is drawn, and pads on the left, so that a session's keys and
values move with its company. So mlx-lm's models are run here over rows of our own (`mentor_kit_mlx.row_states`).
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mentor_kit.backend.kv_budget import in_steps
from mentor_kit.backend.row_device import Array, RowDevice, RowPass, SamplingParams
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.quantized import Quantized
from mentor_kit_mlx.row_states import MLXRowStates
from mentor_kit_mlx.sampling import draw


class MLXRowDevice(RowDevice[mx.array]):
    """A `RowDevice` over a model of mlx-lm; see the module.

    Args:
        lm: the model.
        keeps_rows: whether the state of the model's layers can be kept in rows; else every pass runs whole contexts.
        skips_padding: as in `MLXRowStates`.
        quantized: how keys and values are kept; None for as they are.
    """

    def __init__(
        self, lm: MLXLMWrapper, *, keeps_rows: bool, skips_padding: bool = True, quantized: Quantized | None = None
    ) -> None:
        self.keeps_rows = self.keeps_prefix = keeps_rows
        self._lm = lm
        self._states = MLXRowStates(lm.model, lm.hidden, quantized, skips_padding=skips_padding)
        self._prefix = MLXRowStates(lm.model, lm.hidden, quantized, skips_padding=skips_padding)
        self.cuts_rows = self._states.cuts or not keeps_rows

    @property
    def vocabulary(self) -> int:
        return self._lm.vocabulary

    @property
    def nbytes(self) -> int:
        """Bytes of all state that is allocated."""
        return self._states.nbytes + self._prefix.nbytes

    def forward(self, batch: RowPass, last: Array) -> mx.array:
        hidden = self._hidden(batch)
        logits = self._lm.logits(hidden[mx.arange(len(last)), mx.array(last)])
        if self.keeps_rows:
            self._states.start_evaluating()
        return logits

    def fill(self, batch: RowPass) -> None:
        # the state is all that is wanted: what the last layer makes of it is never computed
        self._hidden(batch)
        self._states.evaluate()

    def draw(self, logits: mx.array, places: Array, params: SamplingParams) -> tuple[Array, Array]:
        if not np.array_equal(places, np.arange(len(logits))):
            logits = logits[mx.array(places)]
        return draw(logits, params)

    def reserve(self, rows: int, positions: int) -> None:
        self._states.reserve(rows, positions)
        self._update()

    def copy(self, source: Array, target: Array, length: int) -> None:
        self._states.copy(self._states, source, target, length)

    def free(self) -> None:
        self._states.drop()
        self._prefix.drop()
        self._update()

    def hold_prefix(self, ids: Sequence[int], chunk: int) -> None:
        prefix, count = self._prefix, len(ids)
        if prefix.positions != in_steps(count):
            prefix.drop()
        prefix.reserve(1, in_steps(count))
        for start in range(0, count, chunk):
            tokens = np.array([ids[start : start + chunk]])
            width = tokens.shape[1]
            prefix.run(tokens, np.array([start]), start + width, [0], np.array([width]))
            prefix.evaluate()
        self._update()

    def copy_prefix(self, target: Array, length: int) -> None:
        self._states.copy(self._prefix, np.zeros(len(target), dtype=np.int64), target, length)

    def _hidden(self, batch: RowPass) -> mx.array:
        """Hidden states (n, T, …)."""
        if not self.keeps_rows:
            return self._lm.hidden(mx.array(batch.ids))
        count, width = batch.ids.shape
        rows = range(count) if batch.rows is None else batch.rows.tolist()
        counts = np.full(count, width) if batch.counts is None else batch.counts
        return self._states.run(batch.ids, batch.positions[:, 0], batch.length, rows, counts)

    def _update(self) -> None:
        """Say what is allocated."""
        self.rows, self.positions = self._states.rows, self._states.positions
        self.prefix_positions = self._prefix.positions
