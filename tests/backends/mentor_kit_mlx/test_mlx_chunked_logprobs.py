"""Logits in chunks: their memory does not grow with the trained tokens, and gradients are those of finite logits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mentor_kit_mlx.chunked_logprobs import logits_bytes, token_values
from mlx_students import load, memory_taken
from torch_students import SHAPE, write_student
from transformers import LlamaConfig

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.testing.objectives import make_objective

VOCABULARY, LENGTH = 8192, 20


@pytest.mark.parametrize("adapter", [AdapterSpec(rank=2), None], ids=["adapter", "full"])
def test_more_trained_tokens_take_no_more_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adapter: AdapterSpec | None
) -> None:
    monkeypatch.setattr("mentor_kit_mlx.chunked_logprobs.LARGEST_LOGITS", VOCABULARY * LENGTH)
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    policy = load(write_student(tmp_path, LlamaConfig(**SHAPE | shape)), adapter)
    policy.prepare(OptimizerSpec())
    rng = np.random.default_rng(0)
    peaks = []
    for count in (1, 12, 30):
        completions = tuple(
            TokenCompletion(rng.integers(0, 90, LENGTH), np.ones(LENGTH), np.zeros(LENGTH), 1.0) for _ in range(count)
        )
        groups = [TokenGroup(rng.integers(0, 90, 8), completions)]
        objective = make_objective(preset="grpo", kl=0.0)
        peaks.append(memory_taken(partial(policy.forward_backward, groups, objective)))
    bound = logits_bytes(VOCABULARY, 30 * LENGTH)
    assert bound < 30 * LENGTH * VOCABULARY * 4 / 2
    assert peaks[0] < peaks[1] < bound + (2 << 20)
    assert peaks[2] < bound + (2 << 20)


def test_gradients_in_chunks_are_those_of_all_logits(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Log-probabilities and entropies at several temperatures, for the hidden states and the projection."""
    lm = load(folder).lm
    rng = np.random.default_rng(1)
    hidden = mx.array(rng.normal(size=(23, 32)).astype(np.float32))
    targets, temperature = mx.array(rng.integers(0, 100, 23)), mx.array(rng.uniform(0.5, 2, 23).astype(np.float32))
    pulls = [mx.array(rng.normal(size=23).astype(np.float32)) for _ in range(2)]
    found = []
    for largest in (1 << 23, 300):
        monkeypatch.setattr("mentor_kit_mlx.chunked_logprobs.LARGEST_LOGITS", largest)
        values, [gradient] = mx.vjp(
            lambda states: token_values(lm, states, targets, temperature, with_entropy=True), [hidden], pulls
        )
        found.append([*values, gradient])
    for whole, chunked in zip(*found, strict=True):
        np.testing.assert_allclose(np.array(chunked), np.array(whole), rtol=1e-4, atol=1e-5)
