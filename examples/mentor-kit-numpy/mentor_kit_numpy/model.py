"""A language model with a decaying memory, in NumPy: small enough to read; its gradients are autograd's.

    h_t = decay · h_{t-1} + embedding[x_t]          logits_t = tanh(h_t) · output

Shapes: n sequences, T tokens, width d, vocabulary V.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

Array = np.ndarray[Any, Any]
Parameters = dict[str, Array]
"""`embedding` (V, d) and `output` (d, V)."""

DECAY = np.float32(0.6)


def random_parameters(vocabulary: int, width: int, seed: int) -> Parameters:
    """Fresh weights."""
    rng = np.random.default_rng(seed)
    shapes = {"embedding": (vocabulary, width), "output": (width, vocabulary)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def states_of(parameters: Parameters, ids: Array, before: Array) -> Array:
    """Hidden states (n, T, d) of tokens (n, T) behind the states `before` (n, d)."""
    embedded = parameters["embedding"][ids]
    states = []
    for t in range(ids.shape[1]):
        before = DECAY * before + embedded[:, t]
        states.append(before)
    found: Array = anp.stack(states, axis=1)
    return found


def logits_of(parameters: Parameters, states: Array) -> Array:
    """Logits (…, V) of hidden states (…, d)."""
    found: Array = anp.dot(anp.tanh(states), parameters["output"])
    return found


def log_softmax(logits: Array, temperature: Array) -> Array:
    """Log-probabilities (…, V) of logits (…, V) at temperatures (…, 1)."""
    scaled = logits / temperature
    scaled = scaled - anp.max(scaled, axis=-1, keepdims=True)
    found: Array = scaled - anp.log(anp.sum(anp.exp(scaled), axis=-1, keepdims=True))
    return found
