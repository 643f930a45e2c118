"""From logits to tokens: temperature, top-k, top-p, inverse CDF.

A GPU has no float64, and a running sum over a long vocabulary in float32 would blur the CDF. So probabilities are
summed by blocks on the device; the sums of blocks, and then the one block that holds the token, are added up in
float64 on the CPU.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mentor_kit.backend.row_device import SamplingParams

BLOCK = 256


def scaled_log_probs(logits: mx.array, temperature: mx.array) -> mx.array:
    """Log-probabilities in float32 of logits (n, V) at temperatures (n,); 0 counts as 1."""
    scaled = logits.astype(mx.float32) / mx.where(temperature > 0, temperature, 1.0)[:, None]
    return scaled - mx.logsumexp(scaled, axis=-1, keepdims=True)


def draw(logits: mx.array, params: SamplingParams) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Tokens (n,) and their log-probabilities (n,) under the full scaled distribution, from logits (n, V).

    The token is the first in the order of ids at which the cumulative probability exceeds the uniform number.
    """
    log_probs = scaled_log_probs(logits, mx.array(params.temperature))
    greedy = mx.argmax(logits, axis=-1)
    probabilities = mx.exp(log_probs)
    if params.filtered:
        probabilities = _filter(probabilities, params)
    blocks = _blocks(probabilities)
    sums = mx.sum(blocks, axis=-1)
    mx.eval(sums, greedy, log_probs, blocks)
    block, rest = _search(np.array(sums, dtype=np.float64), params.uniform)
    inside = np.array(blocks[mx.arange(len(block)), mx.array(block)], dtype=np.float64)
    sampled = block * BLOCK + _first_above(np.cumsum(inside, axis=-1), rest)
    tokens = np.where(params.temperature > 0, sampled, np.array(greedy, dtype=np.int64))
    chosen = mx.take_along_axis(log_probs, mx.array(tokens)[:, None], axis=-1)[:, 0]
    return tokens, np.array(chosen)


def _blocks(probabilities: mx.array) -> mx.array:
    """(n, V) as (n, blocks, BLOCK), with zeros at the end."""
    count, width = probabilities.shape
    padded = mx.pad(probabilities, [(0, 0), (0, -width % BLOCK)])
    return padded.reshape(count, -1, BLOCK)


def _search(sums: NDArray[np.float64], uniform: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The block that holds each row's threshold, and how far into it that is."""
    cumulative = np.cumsum(sums, axis=-1)
    threshold = uniform * cumulative[:, -1]
    block = _first_above(cumulative, threshold)
    before = np.where(block > 0, cumulative[np.arange(len(block)), block - 1], 0.0)
    return block, threshold - before


def _first_above(cumulative: NDArray[np.float64], threshold: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first place (n,) of cumulative (n, m) above the threshold; at the latest, where it stops to grow."""
    total = cumulative[:, -1]
    # sums that were rounded differently must not name a token behind the last possible one
    below = np.minimum(threshold, np.nextafter(total, 0.0))[:, None]
    found: NDArray[np.int64] = (cumulative <= below).sum(axis=-1)
    return found


def _filter(probabilities: mx.array, params: SamplingParams) -> mx.array:
    """Probabilities with zeros outside the top k, and outside the smallest set that holds top-p of them."""
    width = probabilities.shape[-1]
    order = mx.argsort(-probabilities, axis=-1)
    ordered = mx.take_along_axis(probabilities, order, axis=-1)
    top_k = np.where(params.top_k > 0, params.top_k, width)
    ordered = mx.where(mx.arange(width) < _column(top_k), ordered, 0.0)
    before = mx.cumsum(ordered, axis=-1) - ordered
    keep = before < _column(params.top_p) * mx.sum(ordered, axis=-1, keepdims=True)
    keep = keep | (mx.arange(width) == 0)
    return mx.put_along_axis(mx.zeros_like(probabilities), order, mx.where(keep, ordered, 0.0), axis=-1)


def _column(values: NDArray[Any]) -> mx.array:
    return mx.array(values)[:, None]
