"""Gradient checkpointing: the gradients of layers that keep everything, to the bit, for less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mentor_kit_mlx.adapters import dropouts
from mentor_kit_mlx.gradient_checkpointing import is_exact
from mentor_kit_mlx.policy import MLXPolicy
from mentor_kit_mlx.update import loss_and_gradients
from mlx_students import load, memory_taken, nudge_adapter
from test_mlx_loading import KNOWN
from test_torch_architectures import make
from torch_students import SHAPE, write_student
from transformers import LlamaConfig

from mentor_kit.backend.adapters import training
from mentor_kit.backend.microbatching import micro_batches
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import ragged_groups
from mentor_kit.testing.objectives import make_objective

OBJECTIVE = make_objective(preset="rloo")


def gradients(policy: MLXPolicy, *, share: bool = True, budget: int = 60) -> dict[str, np.ndarray]:
    """Of ragged groups, added up over micro-batches."""
    total: dict[str, np.ndarray] = {}
    for batch in micro_batches(ragged_groups(policy.info.vocabulary), budget, OBJECTIVE):
        for name, value in loss_and_gradients(policy.lm, batch, OBJECTIVE, None, share=share)[1].items():
            total[name] = total.get(name, 0.0) + np.array(value)
    return total


@pytest.mark.parametrize("share", [True, False], ids=["shared", "whole"])
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "adapter"])
def test_gradients_are_the_same(folder: Path, adapted: bool, share: bool) -> None:
    policy = load(folder, AdapterSpec(rank=4) if adapted else None)
    if adapted:
        nudge_adapter(policy)
    expected = gradients(policy, share=share)
    with policy._recomputing.on():
        found = gradients(policy, share=share)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("name", KNOWN)
def test_families(name: str, tmp_path: Path) -> None:
    policy = load(make(name, tmp_path), gradient_checkpointing=True)
    policy.prepare(OptimizerSpec())
    assert policy.recomputes


def test_dropout_draws_the_same_numbers_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(folder, AdapterSpec(rank=4, dropout=0.5))
    nudge_adapter(policy)
    found = []
    # the same way with nothing computed again, then with; another draw of numbers differs
    for checkpoint, seed in ((lambda function: function, 3), (mx.checkpoint, 3), (mx.checkpoint, 4)):
        monkeypatch.setattr(mx, "checkpoint", checkpoint)
        mx.random.seed(seed)
        with training(dropouts(policy.model)), policy._recomputing.on():
            found.append(gradients(policy))
    assert all(np.array_equal(value, found[1][name]) for name, value in found[0].items())
    assert any(not np.array_equal(value, found[2][name]) for name, value in found[0].items())


def test_mlx_lms_own_way_would_be_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's keys and values that go around `checkpoint` lose their gradients; the trial notices."""
    policy = load(folder)

    def run(plain: Any, layer: Any, args: Any, kwargs: Any) -> Any:
        own = layer.trainable_parameters()

        def part(parameters: Any, *args: Any) -> Any:
            layer.update(parameters)
            return plain(layer, *args, **kwargs)

        try:
            return mx.checkpoint(part)(own, *args)
        finally:
            layer.update(own)

    assert is_exact(policy.lm, policy._recomputing, share=True)
    monkeypatch.setattr(policy._recomputing, "_run", run)
    assert not is_exact(policy.lm, policy._recomputing, share=True)
    policy.options = policy.options.model_copy(update={"gradient_checkpointing": True})
    with pytest.raises(BackendError, match="gradient_checkpointing"):
        policy.prepare(OptimizerSpec())


def test_it_saves_memory(tmp_path: Path) -> None:
    deep = SHAPE | {
        "num_hidden_layers": 12,
        "hidden_size": 64,
        "intermediate_size": 256,
        "max_position_embeddings": 600,
    }
    policy = load(write_student(tmp_path, LlamaConfig(**deep)))
    ids, ones = np.ones(100, np.int64), np.ones(100, np.float32)
    groups = [TokenGroup(ids, (TokenCompletion(ids, ones, -ones, 1.0),) * 4)]
    [batch] = micro_batches(groups, 1 << 20, OBJECTIVE)

    def update() -> None:
        loss_and_gradients(policy.lm, batch, OBJECTIVE, None, share=True)

    kept = memory_taken(update)
    with policy._recomputing.on():
        recomputed = memory_taken(update)
    assert recomputed < 0.6 * kept


def test_auto_looks_at_the_memory(folder: Path) -> None:
    for memory, tokens, expected in ((None, 8192, False), (1.0, 8192, False), (0.02, 8192, True), (0.02, 64, False)):
        policy = load(folder, memory=memory, token_budget=tokens)
        policy.prepare(OptimizerSpec())
        assert policy.recomputes == expected, (memory, tokens)
