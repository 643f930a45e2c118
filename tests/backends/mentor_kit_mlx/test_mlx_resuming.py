"""A run that goes on from a checkpoint: the same bits, with dropout and checkpointed layers, and in another type."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mentor_kit_mlx.params import by_name, trained
from mentor_kit_mlx.policy import MLXPolicy
from mlx_students import load, weights
from torch_students import write_student

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.testing.material import ragged_groups
from mentor_kit.testing.objectives import make_objective

GROUPS = ragged_groups(100)
OPTIMIZERS = [OptimizerSpec(), OptimizerSpec(use="muon")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("student"))


def learn(policy: MLXPolicy, steps: int = 1) -> MLXPolicy:
    for _ in range(steps):
        policy.forward_backward(GROUPS, make_objective(preset="rloo"))
        policy.optimizer_step(1e-2)
    return policy


@pytest.mark.spread
@pytest.mark.parametrize("recompute", [False, True, "auto"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("sampled_before", [False, True])
def test_the_same_bits_with_dropout(
    folder: Path, tmp_path: Path, recompute: Any, dropout: float, sampled_before: bool
) -> None:
    def fresh() -> MLXPolicy:
        return load(folder, AdapterSpec(rank=2, dropout=dropout), gradient_checkpointing=recompute)

    straight = fresh()
    straight.prepare(OptimizerSpec())
    learn(straight, 2)
    straight.save(tmp_path / "checkpoint")
    learn(straight, 2)
    resumed = fresh()
    if sampled_before:
        resumed.prepare(OptimizerSpec())
        learn(resumed)
    resumed.restore(tmp_path / "checkpoint")
    learn(resumed, 2)
    expected = weights(straight)
    assert all(np.array_equal(value, expected[name]) for name, value in weights(resumed).items())


@pytest.mark.spread
@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(["float32", "bfloat16", "float16"], 2)))
@pytest.mark.parametrize("optimizer", [None, *OPTIMIZERS], ids=["none", "adamw", "muon"])
def test_a_checkpoint_goes_on_in_another_type(
    folder: Path, tmp_path: Path, before: str, after: str, optimizer: OptimizerSpec | None
) -> None:
    """What the optimizer keeps in float32 is kept; the weights are those in the new type."""
    policy = load(folder, dtype=before)
    if optimizer is not None:
        policy.prepare(optimizer)
        learn(policy)
    exact = policy.optimizer.state() if policy.optimizer is not None else {}
    masters = {name: exact.get(f"master/{name}", value) for name, value in trained(policy.model).items()}
    policy.snapshot_reference()
    policy.save(tmp_path / "checkpoint")
    found = load(folder, dtype=after)
    found.restore(tmp_path / "checkpoint")
    kind = getattr(mx, after)
    for name, value in by_name(found.model.parameters()).items():
        assert value.dtype == kind, name
    for name, value in trained(found.model).items():
        assert bool(mx.array_equal(value, masters[name].astype(kind))), name
    if optimizer is not None and after != "float32":
        state = found.optimizer.state() if found.optimizer is not None else {}
        for name, value in masters.items():
            assert bool(mx.array_equal(state[f"master/{name}"], value.astype(mx.float32))), name
    assert found.log_probs(GROUPS, weights="reference")
    if optimizer is not None:
        learn(found)
        assert {value.dtype for value in trained(found.model).values()} == {kind}
