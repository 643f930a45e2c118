"""Checkpoints and exports, held to the contract; mlx-lm and the torch backend read what was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch_students
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.params import trained
from mlx.utils import tree_unflatten
from mlx_students import load, nudge_adapter
from torch_students import Float64Twin

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import UsageError
from mentor_kit.testing.checkpoints import (
    GROUPS,
    CheckpointContract,
    ExportContract,
    LoadExported,
    LoadPolicy,
    Variant,
    agrees,
    learn,
)
from mentor_kit.testing.material import flat
from mentor_kit.testing.objectives import make_objective

VARIANTS: list[Variant] = [
    (None, {}),
    (None, {"dtype": "bfloat16"}),
    (AdapterSpec(rank=2), {}),
    (AdapterSpec(rank=2), {"adapter": "dora"}),
    (AdapterSpec(dropout=0.3), {}),
    (AdapterSpec(dropout=0.3), {"gradient_checkpointing": True}),
    (AdapterSpec(dropout=0.3, targets=("lm_head", "embed_tokens", "k_proj")), {"gradient_checkpointing": True}),
]


class TestMLXCheckpoints(CheckpointContract, ExportContract):
    @pytest.fixture
    def load_policy(self) -> LoadPolicy:
        return load

    @pytest.fixture(params=VARIANTS, ids=str)
    def variant(self, request: pytest.FixtureRequest) -> Variant:
        found: Variant = request.param
        return found

    @pytest.fixture
    def load_exported(self) -> LoadExported:
        return Float64Twin


def by_mlx_lm(model: Any) -> Any:
    return lambda ids: np.array(model(mx.array([list(map(int, ids))]))[0], dtype=np.float64)


@pytest.mark.parametrize("trial", ["prepare", "restore"])
def test_trials_leave_the_random_numbers_as_they_were(folder: Path, tmp_path: Path, trial: str) -> None:
    policy = load(folder, AdapterSpec(dropout=0.3), gradient_checkpointing=True)
    policy.prepare(OptimizerSpec())
    policy.save(tmp_path)
    mx.random.seed(7)
    if trial == "restore":
        policy.restore(tmp_path)
        mx.random.seed(7)
    policy.prepare(OptimizerSpec())
    found = mx.random.uniform(shape=(5,)).tolist()
    mx.random.seed(7)
    assert found == mx.random.uniform(shape=(5,)).tolist()


def test_dropout_of_a_head_in_parts_drops_the_same_in_the_backward_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts are computed twice; the gradient is held against differences of the loss with the same numbers."""
    policy = load(folder, AdapterSpec(rank=2, dropout=0.5, targets=("lm_head",)))
    nudge_adapter(policy)
    monkeypatch.setattr("mentor_kit_mlx.chunked_logprobs.LARGEST_LOGITS", 300)
    name = "lm_head.lora_b"

    place = 0

    def loss(change: float = 0.0) -> float:
        before = trained(policy.model)[name]
        moved = np.array(before)
        moved.flat[place] += change
        policy.model.update(tree_unflatten([(name, mx.array(moved))]))
        mx.random.seed(3)
        policy.prepare(OptimizerSpec())
        found = policy.forward_backward(GROUPS, make_objective(preset="sft")).loss
        policy.model.update(tree_unflatten([(name, before)]))
        return found

    loss()
    assert policy.optimizer is not None
    gradient = np.array(policy.optimizer.gradients[name])
    place = int(np.abs(gradient).argmax())
    assert gradient.flat[place] == pytest.approx((loss(1e-2) - loss(-1e-2)) / 2e-2, rel=2e-2)


@pytest.mark.parametrize(
    ("adapter", "kind"), [(None, "lora"), (AdapterSpec(rank=2), "lora"), (AdapterSpec(rank=2), "dora")]
)
def test_mlx_lm_reads_exported_models(folder: Path, tmp_path: Path, adapter: AdapterSpec | None, kind: str) -> None:
    policy = load(folder, adapter, adapter=kind)
    policy.prepare(OptimizerSpec())
    learn(policy, 3)
    policy.export(tmp_path, format="mlx")
    model, _ = mlx_lm("utils").load_model(tmp_path)
    agrees(policy, by_mlx_lm(model))


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_exported_adapters_are_read_elsewhere(folder: Path, tmp_path: Path, kind: str) -> None:
    policy = load(folder, AdapterSpec(rank=2, alpha=7.0), adapter=kind)
    nudge_adapter(policy)
    expected = flat(policy.log_probs(GROUPS))
    for name in ("adapter", "mlx-adapter"):
        policy.export(tmp_path / name, format=name)
        again = load(folder, AdapterSpec(path=tmp_path / name))
        np.testing.assert_array_equal(flat(again.log_probs(GROUPS)), expected)
    theirs = torch_students.load(folder, AdapterSpec(path=tmp_path / "adapter"))
    np.testing.assert_allclose(flat(theirs.log_probs(GROUPS)), expected, atol=1e-4)
    theirs.export(tmp_path / "back", format="adapter")
    back = load(folder, AdapterSpec(path=tmp_path / "back"))
    np.testing.assert_allclose(flat(back.log_probs(GROUPS)), expected, atol=1e-5)
    plain = load(folder)
    plain.export(tmp_path / "plain", format="mlx")
    model, _ = mlx_lm("utils").load_model(tmp_path / "plain")
    mlx_lm("utils").load_adapters(model, str(tmp_path / "mlx-adapter"))
    model.eval()
    agrees(policy, by_mlx_lm(model))
    with pytest.raises(UsageError):
        plain.export(tmp_path / "none", format="mlx-adapter")
