"""The states of all layers of a model of mlx-lm in rows, and the checks that it gives the same with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit.backend.row_device import Array
from mentor_kit.backend.row_state import RowStates
from mentor_kit.core.errors import BackendError
from mentor_kit_mlx.cache import UNFIT, View, own_caches
from mentor_kit_mlx.layer_states import Aim, MLXLayerState, layer_state
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.quantized import Quantized
from mentor_kit_mlx.self_check import agree, trial_tokens

Hidden = Callable[[mx.array, list[Any]], mx.array]


class MLXRowStates(RowStates[MLXLayerState]):
    """Sequences of a model in rows.

    Args:
        model: of mlx-lm.
        hidden: runs tokens (n, T) with an object for each layer that keeps something, up to their hidden states.
        quantized: how keys and values are kept; None for as they are.
        skips_padding: whether the model's layers leave out padding; else rows that take in different numbers of tokens
            are run one number after the other.
    """

    def __init__(
        self, model: Any, hidden: Hidden, quantized: Quantized | None = None, *, skips_padding: bool = True
    ) -> None:
        super().__init__([layer_state(cache, quantized) for cache in own_caches(model)])
        self._hidden, self._skips_padding = hidden, skips_padding

    def run(self, ids: Array, start: Array, length: int, rows: Sequence[int], counts: Array) -> mx.array:
        """Take in tokens; their hidden states (n, T, …).

        Args:
            ids: (n, T) tokens.
            start: (n,): the position of each row's first one.
            length: keys are read at positions below it.
            rows: (n,): theirs.
            counts: (n,): how many of its tokens each row takes in.

        Raises:
            CutError: a row is of more tokens than it starts behind.
        """
        if self._skips_padding or not ((counts > 0) & (counts < ids.shape[1])).any():
            return self._run(ids, start, length, rows, counts)
        found: mx.array | None = None
        for count in np.unique(counts[counts > 0]).tolist():
            same = np.nonzero(counts == count)[0]
            part = self._run(ids[same, :count], start[same], length, [rows[i] for i in same.tolist()], counts[same])
            if found is None:
                found = mx.zeros((*ids.shape, *part.shape[2:]), part.dtype)
            found[mx.array(same), :count] = part
        assert found is not None
        return found

    def _run(self, ids: Array, start: Array, length: int, rows: Sequence[int], counts: Array) -> mx.array:
        chosen = list(rows)
        self.advance(np.array(chosen), start, counts)
        first = mx.array(start.astype(np.int32))
        where = first[:, None] + mx.arange(ids.shape[1])
        keys = mx.arange(length)[None]
        aim = Aim(
            rows=mx.array(chosen),
            leading=chosen == list(range(len(chosen))),
            view=View(first, where, keys, (keys[:, None] <= where[:, :, None])[:, None]),
            where=where,
            length=length,
            fresh=start == 0,
            counts=counts,
        )
        given = [layer.handed(aim) for layer in self.layers]
        hidden = self._hidden(mx.array(ids), given)
        for layer, own in zip(self.layers, given, strict=True):
            layer.take(aim, own)
        return hidden

    def copy(self, other: RowStates[MLXLayerState], source: Array, target: Array, length: int) -> None:
        super().copy(other, source, target, length)
        # one layer after the other, so that what is copied exists twice in one of them alone
        for layer in self.layers:
            mx.eval(list(layer.arrays()))

    def evaluate(self) -> None:
        """Have all writes done now."""
        mx.eval([array for layer in self.layers for array in layer.arrays()])

    def start_evaluating(self) -> None:
        """Begin with the writes that no later layer of a pass waits for."""
        if not self.cuts:
            own = [array for layer in self.layers if not layer.cuts for array in layer.arrays()]
            mx.async_eval(own)  # type: ignore[no-untyped-call]


def keeps_rows(lm: MLXLMWrapper) -> bool:
    """Whether a model gives the same when its layers' state is kept in rows; found out by trying it."""
    whole = lm.logits(lm.hidden(trial_tokens(lm)))
    try:
        found = _by_rows(lm, MLXRowStates(lm.model, lm.hidden))
    except UNFIT:
        return False
    return agree(lm, found, whole[:, 3:])


def skips_padding(lm: MLXLMWrapper) -> bool:
    """Whether a model whose state is kept in rows leaves out the padding behind them; found out by trying it."""
    states = MLXRowStates(lm.model, lm.hidden)
    if states.cuts:
        return True
    whole = lm.logits(lm.hidden(trial_tokens(lm)))
    ids = np.array(trial_tokens(lm))
    states.reserve(2, 8)
    try:
        # the first row takes in three tokens, then two; the second one two, then three
        first = states.run(ids[:, :3], np.array([0, 0]), 3, [0, 1], np.array([3, 2]))
        then = states.run(np.stack([ids[0, [3, 4, 4]], ids[1, 2:]]), np.array([3, 2]), 6, [0, 1], np.array([2, 3]))
        found = [lm.logits(first)[1, :2], lm.logits(then)[0, :2], lm.logits(then)[1]]
        mx.eval(found)
    except UNFIT:
        return False
    return agree(lm, mx.concatenate(found), mx.concatenate([whole[1, :2], whole[0, 3:], whole[1, 2:]]))


def check_quantized(lm: MLXLMWrapper, quantized: Quantized, *, keeps: bool) -> None:
    """Refuse to quantize the keys and values of a model that cannot have it; found out by trying it.

    Args:
        lm: the model.
        quantized: how.
        keeps: whether it keeps keys and values at all.

    Raises:
        BackendError: it cannot.
    """
    if not keeps:
        raise BackendError(
            "backend.kv_bits: this model's layers keep other state than keys and values", hint="leave `kv_bits` out"
        )
    try:
        _by_rows(lm, MLXRowStates(lm.model, lm.hidden, quantized))
    except UNFIT as error:
        raise BackendError(
            f"backend.kv_bits: this model's keys and values cannot be quantized: {str(error).strip().splitlines()[0]}",
            hint="set `kv_group` to 32, 64 or 128, so that it divides the width of a head, or leave `kv_bits` out",
        ) from error


def _by_rows(lm: MLXLMWrapper, states: MLXRowStates) -> mx.array:
    """The logits (2, 2, V) of the last two tokens of two rows, which are taken in behind the first three."""
    states.reserve(2, 5)
    ids = np.array(trial_tokens(lm))
    for start, end in ((0, 3), (3, 5)):
        both = np.array([start, start])
        last = lm.logits(states.run(ids[:, start:end], both, end, [0, 1], np.full(2, end - start)))
        mx.eval(last)
    return last
