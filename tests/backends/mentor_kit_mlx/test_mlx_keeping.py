"""Checkpoints, exports and reference policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import torch_students
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.params import trained
from mentor_kit_mlx.policy import MLXPolicy
from mlx.utils import tree_unflatten
from mlx_students import load, nudge_adapter, weights
from torch_students import Float64Twin

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.testing.material import drive, flat, log_softmax, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

GROUPS = ragged_groups(100)


def learn(policy: MLXPolicy, steps: int = 1, kl: float = 0.0) -> None:
    for _ in range(steps):
        policy.forward_backward(GROUPS, make_objective(preset="grpo", kl=kl))
        policy.optimizer_step(1e-2)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("adapter", "options"),
    [
        (None, {}),
        (None, {"dtype": "bfloat16"}),
        (AdapterSpec(rank=2), {}),
        (AdapterSpec(rank=2), {"adapter": "dora"}),
        (AdapterSpec(dropout=0.3), {}),
        (AdapterSpec(dropout=0.3), {"gradient_checkpointing": True}),
        (AdapterSpec(dropout=0.3, targets=("lm_head", "embed_tokens", "k_proj")), {"gradient_checkpointing": True}),
    ],
)
def test_every_kind_of_policy_goes_on_with_the_same_bits(
    folder: Path, tmp_path: Path, adapter: AdapterSpec | None, options: dict[str, Any], optimizer: Any
) -> None:
    policy = load(folder, adapter, **options)
    policy.prepare(OptimizerSpec(use=optimizer))
    learn(policy, 2)
    policy.save(tmp_path)
    learn(policy, 2)
    expected = weights(policy)
    mx.eval(mx.random.uniform(shape=(5,)))  # other use of random numbers, which restoring must undo
    other = load(folder, adapter, **options)
    other.restore(tmp_path)
    assert other.version == 2
    learn(other, 2)
    assert same(weights(other), expected)


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
    monkeypatch.setattr("mentor_kit_mlx.update.LARGEST_LOGITS", 300)
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


KINDS = ["float32", "bfloat16", "float16"]


@pytest.mark.parametrize("loader", [load, torch_students.load], ids=["mlx", "torch"])
@pytest.mark.parametrize(("saved", "own"), [(a, b) for a in KINDS for b in KINDS if a != b])
def test_checkpoints_go_on_in_another_dtype(
    folder: Path, tmp_path: Path, loader: Any, saved: str, own: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The optimizer's float32 weights go on exactly; what the model computes with is they, rounded."""
    exact, first, other = loader(folder), loader(folder, dtype=saved), loader(folder, dtype=own)
    first.prepare(OptimizerSpec())
    first.snapshot_reference()
    learn(first, 2)
    first.save(tmp_path)
    other.restore(tmp_path)
    exact.restore(tmp_path)  # float32: the weights themselves
    assert other.info.dtype == own
    assert [saved in record.message and own in record.message for record in caplog.records][:1] == [True]
    kept, found = floats(exact), floats(other)
    np.testing.assert_array_equal(found, rounded(kept, own))
    assert np.abs(kept - rounded(kept, saved)).max() > 0 or saved == "float32"
    learn(other)
    assert other.info.dtype == own
    assert {str(kind).rpartition(".")[2] for kind in dtypes(other)} == {own}
    other.log_probs(GROUPS, weights="reference")
    # and back again, as if it had never been elsewhere
    other.restore(tmp_path)
    other.save(tmp_path / "again")
    exact.restore(tmp_path / "again")
    np.testing.assert_array_equal(floats(exact), kept)


@pytest.mark.parametrize(("saved", "own"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_checkpoints_without_an_optimizer_go_on_in_another_dtype(
    folder: Path, tmp_path: Path, saved: str, own: str
) -> None:
    first, other = load(folder, dtype=saved), load(folder, dtype=own)
    first.save(tmp_path)
    other.restore(tmp_path)
    assert {str(kind).rpartition(".")[2] for kind in dtypes(other)} == {own}
    np.testing.assert_array_equal(floats(other), rounded(floats(first), own))


def floats(policy: Any) -> np.ndarray:
    if isinstance(policy, MLXPolicy):
        return np.concatenate([value.ravel() for value in weights(policy).values()])
    return np.concatenate([p.detach().float().numpy().ravel() for p in policy.model.parameters()])


def dtypes(policy: Any) -> set[Any]:
    if isinstance(policy, MLXPolicy):
        return {value.dtype for value in trained(policy.model).values()}
    return {parameter.dtype for parameter in policy.model.parameters()}


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """By PyTorch."""
    return torch.from_numpy(values).to(getattr(torch, dtype)).float().numpy()


def test_results_do_not_depend_on_what_was_sampled_before(folder: Path) -> None:
    requests = [request(f"{i}", [1, 2, 3, 4, 5, 6, 7, 8, 9, i % 4], max_new_tokens=9) for i in range(12)]
    busy, fresh = load(folder), load(folder)
    others = [request(f"x{i}", range(1, 40 + i), max_new_tokens=30) for i in range(17)]
    drive(busy.engine(), others)
    for item in others:
        busy.engine().release(item.session)
    assert drive(busy.engine(), requests) == drive(fresh.engine(), requests)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "policy.json"])
@pytest.mark.parametrize("damage", ["lost", "cut", "empty"])
def test_a_damaged_checkpoint_changes_nothing(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    policy = load(folder)
    policy.prepare(OptimizerSpec())
    learn(policy)
    policy.save(tmp_path)
    file = tmp_path / name
    content = file.read_bytes()
    file.unlink() if damage == "lost" else file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    other = load(folder)
    before = weights(other)
    with pytest.raises(DataError) as caught:
        other.restore(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert same(weights(other), before)


def test_a_checkpoint_of_another_student(folder: Path, tmp_path: Path) -> None:
    load(folder, AdapterSpec(rank=2)).save(tmp_path)
    for adapter in (None, AdapterSpec(rank=3), AdapterSpec(rank=2, targets=("q_proj",))):
        with pytest.raises(DataError, match="another student"):
            load(folder, adapter).restore(tmp_path)


def says_the_same(policy: MLXPolicy, twin: Any, tolerance: float = 1e-4) -> None:
    for group, rows in zip(GROUPS, policy.log_probs(GROUPS), strict=True):
        for completion, row in zip(group.completions, rows, strict=True):
            if len(row):
                logits = twin([*group.prompt_ids, *completion.ids])[len(group.prompt_ids) - 1 : -1]
                found = log_softmax(logits, 1.0)[np.arange(len(row)), completion.ids] * completion.mask
                np.testing.assert_allclose(row, found, atol=tolerance)


@pytest.mark.parametrize(
    ("adapter", "kind"), [(None, "lora"), (AdapterSpec(rank=2), "lora"), (AdapterSpec(rank=2), "dora")]
)
def test_exported_models_load_elsewhere(folder: Path, tmp_path: Path, adapter: AdapterSpec | None, kind: str) -> None:
    policy = load(folder, adapter, adapter=kind)
    policy.prepare(OptimizerSpec())
    learn(policy, 3)
    before = weights(policy)
    policy.export(tmp_path / "transformers")
    policy.export(tmp_path / "mlx", format="mlx")
    assert same(weights(policy), before)
    says_the_same(policy, Float64Twin(tmp_path / "transformers"))
    model, _ = mlx_lm("utils").load_model(tmp_path / "mlx")
    says_the_same(policy, lambda ids: np.array(model(mx.array([list(map(int, ids))]))[0], dtype=np.float64))
    np.testing.assert_allclose(
        flat(load(tmp_path / "transformers").log_probs(GROUPS)), flat(policy.log_probs(GROUPS)), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_exported_adapters_go_on(folder: Path, tmp_path: Path, kind: str) -> None:
    policy = load(folder, AdapterSpec(rank=2, alpha=7.0), adapter=kind)
    nudge_adapter(policy)
    expected = flat(policy.log_probs(GROUPS))
    for kept in ("adapter", "mlx-adapter"):
        policy.export(tmp_path / kept, format=kept)
        again = load(folder, AdapterSpec(path=tmp_path / kept))
        assert again.info.trainable == policy.info.trainable
        np.testing.assert_array_equal(flat(again.log_probs(GROUPS)), expected)
    # and on the other backends
    theirs = torch_students.load(folder, AdapterSpec(path=tmp_path / "adapter"))
    np.testing.assert_allclose(flat(theirs.log_probs(GROUPS)), expected, atol=1e-4)
    theirs.export(tmp_path / "back", format="adapter")
    back = load(folder, AdapterSpec(path=tmp_path / "back"))
    np.testing.assert_allclose(flat(back.log_probs(GROUPS)), expected, atol=1e-5)
    model, _ = mlx_lm("utils").load_model(folder, model_config=policy._loaded.config)
    mlx_lm("utils").load_adapters(model, str(tmp_path / "mlx-adapter"))
    model.eval()
    says_the_same(policy, lambda ids: np.array(model(mx.array([list(map(int, ids))]))[0], dtype=np.float64))
    for kept in ("adapter", "mlx-adapter"):
        with pytest.raises(UsageError):
            load(folder).export(tmp_path / "none", format=kept)


def test_references_of_adapters(folder: Path) -> None:
    bare, fresh = load(folder), load(folder, AdapterSpec(rank=2))
    fresh.prepare(OptimizerSpec())
    fresh.snapshot_reference()
    learn(fresh, 2, kl=0.1)
    np.testing.assert_allclose(
        flat(fresh.log_probs(GROUPS, weights="reference")), flat(bare.log_probs(GROUPS)), atol=1e-6
    )
    assert fresh.reference is not None
    assert sum(value.size for value in fresh.reference.values()) == fresh.info.trainable  # no more is kept
    assert np.abs(flat(fresh.log_probs(GROUPS)) - flat(bare.log_probs(GROUPS))).max() > 1e-3


def test_16_bit_students(folder: Path) -> None:
    exact, rounded = load(folder), load(folder, dtype="bfloat16")
    np.testing.assert_allclose(flat(rounded.log_probs(GROUPS)), flat(exact.log_probs(GROUPS)), atol=0.4)
    rounded.prepare(OptimizerSpec())
    before = flat(rounded.log_probs(GROUPS))
    for _ in range(20):
        rounded.forward_backward(GROUPS, make_objective(preset="sft"))
        rounded.optimizer_step(3e-3)
    assert flat(rounded.log_probs(GROUPS)).sum() > before.sum() + 5
