"""Checkpoints, exports and reference policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch.policy import TorchPolicy
from torch_students import Float64Twin, load, nudge_adapter
from transformers import AutoModelForCausalLM

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.testing.material import drive, flat, log_softmax, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

GROUPS = ragged_groups(100)


def learn(policy: TorchPolicy, steps: int = 1, kl: float = 0.0) -> None:
    for _ in range(steps):
        policy.forward_backward(GROUPS, make_objective(preset="grpo", kl=kl))
        policy.optimizer_step(1e-2)


def weights(policy: TorchPolicy) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in policy.model.named_parameters()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("adapter", "options"),
    [
        (None, {}),
        (None, {"dtype": "bfloat16"}),
        (None, {"gradient_checkpointing": True}),
        (AdapterSpec(rank=2), {}),
        (AdapterSpec(dropout=0.3), {}),
        (AdapterSpec(dropout=0.3), {"gradient_checkpointing": True}),
        (AdapterSpec(dropout=0.3), {"dtype": "bfloat16"}),
        (AdapterSpec(dropout=0.3, targets=("lm_head", "embed_tokens", "k_proj")), {}),
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
    torch.rand(5)  # other use of random numbers, which restoring must undo
    other = load(folder, adapter, **options)
    other.restore(tmp_path)
    assert other.version == 2
    learn(other, 2)
    assert same(weights(other), expected)


@pytest.mark.parametrize("targets", [(), ("lm_head", "k_proj")], ids=str)
def test_dropout_is_the_same_where_the_backward_pass_runs_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, targets: tuple[str, ...]
) -> None:
    """The same numbers are drawn with checkpointed layers, and with logits in parts, as without either."""

    def gradients(**options: Any) -> dict[str, torch.Tensor]:
        policy = load(folder, AdapterSpec(rank=2, dropout=0.5, targets=targets), **options)
        nudge_adapter(policy)
        policy.prepare(OptimizerSpec())
        torch.manual_seed(3)
        policy.forward_backward(GROUPS[1:2], make_objective(preset="sft"))
        return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}

    expected = gradients()
    assert any(bool(value.abs().max() > 0) for value in expected.values())
    for name, value in gradients(gradient_checkpointing=True).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)


def test_results_do_not_depend_on_what_was_sampled_before(folder: Path) -> None:
    requests = [request(f"{i}", [1, 2, 3, 4, 5, 6, 7, 8, 9, i % 4], max_new_tokens=9) for i in range(12)]
    busy, fresh = load(folder), load(folder)
    for length in (3, 40):
        others = [request(f"x{i}", range(1, length + i), max_new_tokens=30) for i in range(17)]
        drive(busy.engine(), others)
        for item in others:
            busy.engine().release(item.session)
    assert drive(busy.engine(), requests) == drive(fresh.engine(), requests)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "policy.json"])
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


def test_a_checkpoint_without_optimizer(folder: Path, tmp_path: Path) -> None:
    load(folder).save(tmp_path / "deep" / "er")
    policy = load(folder)
    policy.prepare(OptimizerSpec())
    policy.restore(tmp_path / "deep" / "er")
    assert policy.optimizer is None


@pytest.mark.parametrize("adapter", [None, AdapterSpec(rank=2)], ids=["full", "adapter"])
def test_exported_models_load_in_transformers(
    folder: Path, tmp_path: Path, adapter: AdapterSpec | None, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = load(folder, adapter)
    policy.prepare(OptimizerSpec())
    learn(policy, 3)
    before = weights(policy)
    expected = policy.log_probs(GROUPS)
    policy.export(tmp_path)
    assert capsys.readouterr().out == ""
    assert same(weights(policy), before)
    twin = Float64Twin(tmp_path)
    for group, rows in zip(GROUPS, expected, strict=True):
        for completion, row in zip(group.completions, rows, strict=True):
            if len(row):
                logits = twin([*group.prompt_ids, *completion.ids])[len(group.prompt_ids) - 1 : -1]
                found = log_softmax(logits, 1.0)[np.arange(len(row)), completion.ids] * completion.mask
                np.testing.assert_allclose(row, found, atol=1e-4)
    np.testing.assert_allclose(flat(load(tmp_path).log_probs(GROUPS)), flat(expected), atol=1e-5)


def test_exported_adapters_go_on(folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = load(folder, AdapterSpec(rank=2, alpha=7.0))
    nudge_adapter(policy)
    policy.export(tmp_path / "adapter", format="adapter")
    again = load(folder, AdapterSpec(path=tmp_path / "adapter"))
    assert again.info.trainable == policy.info.trainable
    np.testing.assert_array_equal(flat(again.log_probs(GROUPS)), flat(policy.log_probs(GROUPS)))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter")
    with torch.no_grad():
        ids = torch.tensor([[1, 2, 3, 4]])
        torch.testing.assert_close(model(input_ids=ids).logits, policy.model(input_ids=ids).logits)
    with pytest.raises(UsageError):
        load(folder).export(tmp_path / "none", format="adapter")


def test_references_of_adapters(folder: Path, tmp_path: Path) -> None:
    bare = load(folder)
    fresh = load(folder, AdapterSpec(rank=2))
    fresh.prepare(OptimizerSpec())
    fresh.snapshot_reference()
    assert not fresh.reference  # switching the adapter off is enough
    learn(fresh, 2, kl=0.1)
    np.testing.assert_allclose(
        flat(fresh.log_probs(GROUPS, weights="reference")), flat(bare.log_probs(GROUPS)), atol=1e-6
    )

    fresh.export(tmp_path, format="adapter")
    trained = load(folder, AdapterSpec(path=tmp_path))
    trained.prepare(OptimizerSpec())
    trained.snapshot_reference()
    assert trained.reference is not None
    assert sum(value.numel() for value in trained.reference.values()) == trained.info.trainable  # no more is copied
    before = flat(trained.log_probs(GROUPS))
    learn(trained, 2, kl=0.1)
    np.testing.assert_array_equal(flat(trained.log_probs(GROUPS, weights="reference")), before)
    assert np.abs(flat(trained.log_probs(GROUPS)) - before).max() > 1e-3


def test_16_bit_students(folder: Path) -> None:
    exact, rounded = load(folder), load(folder, dtype="bfloat16")
    np.testing.assert_allclose(flat(rounded.log_probs(GROUPS)), flat(exact.log_probs(GROUPS)), atol=0.3)
    rounded.prepare(OptimizerSpec())
    before = flat(rounded.log_probs(GROUPS))
    for _ in range(30):
        rounded.forward_backward(GROUPS, make_objective(preset="sft"))
        rounded.optimizer_step(3e-3)
    assert flat(rounded.log_probs(GROUPS)).sum() > before.sum() + 10
