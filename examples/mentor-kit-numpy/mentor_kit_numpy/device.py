"""Sampling: rows of hidden states, one a position, so that a row can be copied, and continued from any place."""

from __future__ import annotations

from typing import Any

import numpy as np
from mentor_kit.backend.row_device import RowDevice, RowPass, SamplingParams

from mentor_kit_numpy.model import Array, Parameters, log_softmax, logits_of, states_of


class NumpyDevice(RowDevice[Array]):
    """The model and the states of its rows. Parameters change in place."""

    keeps_rows = True
    _states: Array
    """Hidden states of all rows (rows, positions, width)."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.width = parameters["embedding"].shape[1]
        self.free()

    @property
    def vocabulary(self) -> int:
        return len(self.parameters["embedding"])

    def forward(self, batch: RowPass, last: Array) -> Array:
        rows = np.arange(len(batch.ids)) if batch.rows is None else batch.rows
        start = batch.positions[:, 0]
        before = np.where((start > 0)[:, None], self._states[rows, np.maximum(start - 1, 0)], np.float32(0))
        states = states_of(self.parameters, batch.ids, before)
        self._states[rows[:, None], batch.positions] = states
        return logits_of(self.parameters, states[np.arange(len(last)), last])

    def draw(self, logits: Array, places: Array, params: SamplingParams) -> tuple[Array, Array]:
        greedy = params.temperature == 0
        temperature = np.where(greedy, 1.0, params.temperature).astype(np.float32)[:, None]
        log_probs = log_softmax(logits[places], temperature).astype(np.float64)
        kept = _filtered(np.exp(log_probs), params)
        cumulative = np.cumsum(kept, axis=1)
        threshold = params.uniform[:, None] * cumulative[:, -1:]
        # rounding may put the number behind all tokens: then it is the last one that is possible
        last = kept.shape[1] - 1 - (kept[:, ::-1] > 0).argmax(axis=1)
        tokens = np.minimum((cumulative <= threshold).sum(axis=1), last)
        tokens = np.where(greedy, log_probs.argmax(axis=1), tokens)
        return tokens, log_probs[np.arange(len(tokens)), tokens].astype(np.float32)

    def reserve(self, rows: int, positions: int) -> None:
        grown = np.zeros((max(rows, self.rows), max(positions, self.positions), self.width), dtype=np.float32)
        grown[: self.rows, : self.positions] = self._states
        self._states, (self.rows, self.positions) = grown, grown.shape[:2]

    def copy(self, source: Array, target: Array, length: int) -> None:
        self._states[target, :length] = self._states[source, :length]

    def free(self) -> None:
        self._states = np.zeros((0, 0, self.width), dtype=np.float32)
        self.rows = self.positions = 0


def _filtered(probabilities: Array, params: SamplingParams) -> Array:
    """Probabilities (m, V) with those outside of top-k and top-p at 0, ties in the order of ids."""
    if not params.filtered:
        return probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)
    top_k = np.where(params.top_k > 0, params.top_k, ranked.shape[1])
    inside: Any = np.arange(ranked.shape[1]) < top_k[:, None]
    ranked = ranked * inside
    share = ranked / ranked.sum(axis=1, keepdims=True)
    inside = inside & (np.cumsum(share, axis=1) - share < params.top_p[:, None])
    kept = np.zeros_like(probabilities)
    np.put_along_axis(kept, order, ranked * inside, axis=1)
    return kept
