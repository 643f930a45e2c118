"""Log-probabilities and entropies of tokens from hidden states, with the logits of a large micro-batch in chunks.

MLX computes what does not depend on each other side by side, about twenty operations wide, so chunks alone save little.
Here each chunk waits for the one before it, forwards and backwards: the logits of one chunk exist at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.random_state import drawing_from, own_seed

#: Logits of more numbers than this are computed in chunks, and again in the backward pass.
LARGEST_LOGITS = 1 << 23
#: How many arrays of a chunk's size exist at a time: those of its arithmetic, and of operations that MLX has queued.
#: (MLX_BFS_MAX_WIDTH=1 narrows MLX's order of evaluation for everything, and does not bound those of a full update.)
ARRAYS_AT_ONCE = 12


def logits_bytes(vocabulary: int, positions: int) -> int:
    """Bytes that logits take in an update at so many trained positions, at most."""
    return 4 * ARRAYS_AT_ONCE * min(positions * vocabulary, max(LARGEST_LOGITS, vocabulary))


def token_values(
    lm: MLXLMWrapper, hidden: mx.array, targets: mx.array, temperature: mx.array, with_entropy: bool
) -> list[mx.array]:
    """(M,) log-probabilities of targets (M,) from hidden states (M, width), and entropies (M,) where asked for."""
    rows = max(1, (LARGEST_LOGITS >> lm.logits_halvings) // lm.vocabulary)
    parameters = lm.trainable()
    if len(targets) <= rows:
        logits = lm.logits_with(parameters, hidden).astype(mx.float32)
        return _of_logits(logits, targets, temperature, with_entropy)
    found = _Chunks(lm, targets, temperature, rows, with_entropy).values(parameters, hidden)
    if parameters:
        lm.projection.update(parameters)
    return found


class _Chunks:
    """The chunks of one micro-batch.

    Args:
        lm: the model.
        targets: (M,).
        temperature: (M,).
        rows: positions in a chunk.
        with_entropy: whether entropies are asked for.
    """

    def __init__(
        self, lm: MLXLMWrapper, targets: mx.array, temperature: mx.array, rows: int, with_entropy: bool
    ) -> None:
        self._lm, self._targets, self._temperature, self._with_entropy = lm, targets, temperature, with_entropy
        starts = range(0, len(targets), rows)
        self._slices = [slice(start, start + rows) for start in starts]
        # a chunk that is computed again must drop the same units
        self._seeds = [own_seed() if lm.drops else None for _ in starts]
        self._names: list[str] = []

    def values(self, parameters: dict[str, Any], hidden: mx.array) -> list[mx.array]:
        """As `token_values`, differentiable in the projection's parameters and the hidden states."""
        named: Any = tree_flatten(parameters)
        self._names = [name for name, _ in named]
        whole = mx.custom_function(self._forward)
        whole.vjp(self._backward)
        found: Any = whole(*(value for _, value in named), hidden)
        return list(_several(found))

    def _forward(self, *inputs: mx.array) -> list[mx.array]:
        *parameters, hidden = inputs
        found: list[list[mx.array]] = []
        for number, part in enumerate(self._slices):
            own = mx.depends([hidden[part]], found[-1])[0] if found else hidden[part]
            logits = self._logits(number, parameters, own)
            found.append(_of_logits(logits, self._targets[part], self._temperature[part], self._with_entropy))
        return [mx.concatenate(list(values)) for values in zip(*found, strict=True)]

    def _backward(self, inputs: Any, cotangents: Any, _: Any) -> Any:
        *parameters, hidden = _several(inputs)
        pulls = _several(cotangents)
        sums: list[mx.array] = []
        gradients: list[mx.array] = []
        for number, part in enumerate(self._slices):
            given = [hidden[part], self._targets[part], self._temperature[part], *(pull[part] for pull in pulls)]
            # all that it is computed from, or zeros of the logits' size would be there for every chunk from the start
            own, targets, temperature, *own_pulls = mx.depends(given, [*sums, *gradients[-1:]]) if gradients else given
            pull = _pull(self._logits(number, parameters, own), targets, temperature, own_pulls)
            *of_parameters, of_hidden = self._pulled(number, [*parameters, own], pull)
            sums = [a + b for a, b in zip(sums, of_parameters, strict=True)] if sums else of_parameters
            gradients.append(of_hidden)
        return (*sums, mx.concatenate(gradients)) if sums else mx.concatenate(gradients)

    def _pulled(self, number: int, inputs: list[mx.array], pull: mx.array) -> list[mx.array]:
        """Gradients of the projection's parameters and the hidden states, from that of a chunk's logits."""

        def logits(*values: mx.array) -> list[mx.array]:
            return [self._logits(number, values[:-1], values[-1])]

        return mx.vjp(logits, inputs, [pull])[1]

    def _logits(self, number: int, parameters: Sequence[mx.array], hidden: mx.array) -> mx.array:
        """A chunk's logits in float32."""
        tree = tree_unflatten(list(zip(self._names, parameters, strict=True))) if self._names else {}
        with drawing_from(self._seeds[number]):
            return self._lm.logits_with(tree, hidden).astype(mx.float32)


def _several(values: Any) -> Sequence[mx.array]:
    """Arrays, of which MLX gives a single one bare."""
    found: Sequence[mx.array] = values if isinstance(values, (list, tuple)) else [values]
    return found


def _of_logits(logits: mx.array, targets: mx.array, temperature: mx.array, with_entropy: bool) -> list[mx.array]:
    """As `token_values`, from logits (m, V) in float32."""
    scaled = logits / temperature[:, None]
    total = mx.logsumexp(scaled, axis=-1)
    log_probs = mx.take_along_axis(scaled, targets[:, None], axis=-1)[:, 0] - total
    if not with_entropy:
        return [log_probs]
    all_log_probs = scaled - total[:, None]
    return [log_probs, -mx.sum(mx.exp(all_log_probs) * all_log_probs, axis=-1)]


def _pull(logits: mx.array, targets: mx.array, temperature: mx.array, pulls: Sequence[mx.array]) -> mx.array:
    """The gradient of logits (m, V), from those of log-probabilities (m,) and, where there are any, entropies (m,).

    d log p[target] / d logits = (onehot(target) - p) / temperature
    d H / d logits             = -p (log p + H) / temperature
    """
    scaled = logits / temperature[:, None]
    log_probs = scaled - mx.logsumexp(scaled, axis=-1, keepdims=True)
    of_log_probs = (pulls[0] / temperature)[:, None]
    factor = of_log_probs
    if len(pulls) > 1:
        # a logit of minus infinity has probability 0, and no gradient
        surprise = mx.maximum(log_probs, -1e30)
        entropy = -mx.sum(mx.exp(log_probs) * surprise, axis=-1, keepdims=True)
        factor = factor + (surprise + entropy) * (pulls[1] / temperature)[:, None]
    chosen = mx.arange(logits.shape[-1])[None] == targets[:, None]
    return mx.where(chosen, of_log_probs, 0.0) - mx.exp(log_probs) * factor
