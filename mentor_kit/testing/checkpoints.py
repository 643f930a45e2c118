"""The contract of a backend's checkpoints and exports; subclass these in its tests.

    class TestMyCheckpoints(CheckpointContract, ExportContract):
        @pytest.fixture
        def load_policy(self): ...        # (folder, adapter=None, **options) -> a fresh policy, in float32 by default
        @pytest.fixture
        def folder(self): ...             # of a tiny student; all of it is trained where there is no adapter
        @pytest.fixture(params=[...])
        def variant(self, request): ...   # (adapter, options): each kind of policy that resumes exactly
        @pytest.fixture
        def load_exported(self): ...      # folder -> an `Oracle` of a student exported as `transformers`, by other code

Options are the backend's own; the suites themselves use `dtype` alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError, DataError, UsageError
from mentor_kit.testing.material import TOLERANCE, Oracle, drive, flat, log_softmax, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

Variant = tuple[AdapterSpec | None, dict[str, Any]]
LoadExported = Callable[[Path], Oracle]
DTYPES = ("float32", "bfloat16", "float16")
SMALL = AdapterSpec(rank=2)


class LoadPolicy(Protocol):
    """Loads a policy from a folder, always of the same weights."""

    def __call__(self, folder: Path, adapter: AdapterSpec | None = None, /, **options: Any) -> Policy: ...


class CheckpointContract:
    """Resuming to the same bits, damaged checkpoints, references and floating-point types."""

    @pytest.mark.parametrize("use", ["adamw", "muon"])
    def test_every_kind_of_policy_resumes_with_the_same_bits(
        self,
        load_policy: LoadPolicy,
        folder: Path,
        tmp_path: Path,
        variant: Variant,
        use: Literal["adamw", "muon"],
    ) -> None:
        adapter, options = variant
        policy = load_policy(folder, adapter, **options)
        policy.prepare(OptimizerSpec(use=use))
        learn(policy, 2)
        policy.save(tmp_path)
        learn(policy, 2)
        other = load_policy(folder, adapter, **options)
        other.restore(tmp_path)
        learn(other, 2)
        np.testing.assert_array_equal(seen(other), seen(policy))

    @pytest.mark.parametrize("damage", ["lost", "cut", "empty"])
    def test_a_damaged_checkpoint_changes_nothing(
        self, load_policy: LoadPolicy, folder: Path, tmp_path: Path, damage: str
    ) -> None:
        policy, other = load_policy(folder), load_policy(folder)
        policy.prepare(OptimizerSpec())
        policy.snapshot_reference()
        learn(policy)
        policy.save(tmp_path)
        before = seen(other)
        for file in sorted(tmp_path.iterdir()):
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
            if damage == "lost":
                file.unlink()
            with pytest.raises(DataError) as caught:
                other.restore(tmp_path)
            assert str(tmp_path) in caught.value.message
            np.testing.assert_array_equal(seen(other), before)
            file.write_bytes(content)
        other.restore(tmp_path)
        np.testing.assert_array_equal(seen(other), seen(policy))

    def test_a_checkpoint_of_another_student_is_refused(
        self, load_policy: LoadPolicy, folder: Path, tmp_path: Path
    ) -> None:
        load_policy(folder, SMALL).save(tmp_path)
        for adapter in (None, AdapterSpec(rank=3), AdapterSpec(rank=2, targets=("q_proj",))):
            with pytest.raises(DataError):
                load_policy(folder, adapter).restore(tmp_path)

    def test_a_checkpoint_without_an_optimizer_leaves_none(
        self, load_policy: LoadPolicy, folder: Path, tmp_path: Path
    ) -> None:
        load_policy(folder).save(tmp_path / "deep" / "er")
        policy = load_policy(folder)
        policy.prepare(OptimizerSpec())
        policy.restore(tmp_path / "deep" / "er")
        with pytest.raises(BackendError):
            learn(policy)

    @pytest.mark.parametrize(("saved", "own"), [(a, b) for a in DTYPES for b in DTYPES if a != b])
    def test_checkpoints_resume_in_another_dtype(
        self,
        load_policy: LoadPolicy,
        folder: Path,
        tmp_path: Path,
        saved: str,
        own: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An optimizer's float32 weights stay exact, so that a checkpoint may go through another type and back."""
        first, other = load_policy(folder, dtype=saved), load_policy(folder, dtype=own)
        exact, back = load_policy(folder), load_policy(folder)
        first.prepare(OptimizerSpec())
        first.snapshot_reference()
        learn(first, 2)
        first.save(tmp_path / "first")
        with caplog.at_level(logging.WARNING):
            other.restore(tmp_path / "first")
        assert [saved in record.message and own in record.message for record in caplog.records][:1] == [True]
        assert other.info.dtype == own
        other.save(tmp_path / "again")
        exact.restore(tmp_path / "first")
        back.restore(tmp_path / "again")
        np.testing.assert_array_equal(seen(back), seen(exact))
        learn(other)
        assert other.info.dtype == own
        assert len(other.log_probs(GROUPS, weights="reference")) == len(GROUPS)

    def test_a_new_adapters_reference_is_the_model_without_it(self, load_policy: LoadPolicy, folder: Path) -> None:
        bare, policy = load_policy(folder), load_policy(folder, SMALL)
        policy.prepare(OptimizerSpec())
        with pytest.raises(BackendError):
            policy.log_probs(GROUPS, weights="reference")
        policy.snapshot_reference()
        learn(policy, 2, kl=0.1)
        np.testing.assert_allclose(seen(policy, "reference"), seen(bare), atol=1e-6)
        assert np.abs(seen(policy) - seen(bare)).max() > 1e-3

    def test_a_restored_reference_is_the_same(self, load_policy: LoadPolicy, folder: Path, tmp_path: Path) -> None:
        for name, adapter in (("whole", None), ("adapter", SMALL)):
            policy, other = load_policy(folder, adapter), load_policy(folder, adapter)
            policy.prepare(OptimizerSpec())
            policy.snapshot_reference()
            learn(policy, kl=0.1)
            policy.save(tmp_path / name)
            other.restore(tmp_path / name)
            np.testing.assert_array_equal(seen(other, "reference"), seen(policy, "reference"))

    def test_an_adapters_dropout_is_active_in_updates_alone(self, load_policy: LoadPolicy, folder: Path) -> None:
        policy = load_policy(folder, AdapterSpec(rank=4, dropout=0.5))
        policy.prepare(OptimizerSpec())
        learn(policy)  # a new adapter adds nothing that could be dropped
        before = seen(policy)
        first, second = (policy.forward_backward(GROUPS, make_objective(preset="sft")).loss for _ in range(2))
        assert first != second
        np.testing.assert_array_equal(seen(policy), before)

    def test_students_in_16_bits_learn(self, load_policy: LoadPolicy, folder: Path) -> None:
        exact, rounded = load_policy(folder), load_policy(folder, dtype="bfloat16")
        before = seen(rounded)
        np.testing.assert_allclose(before, seen(exact), atol=0.4)
        rounded.prepare(OptimizerSpec())
        for _ in range(20):
            rounded.forward_backward(GROUPS, make_objective(preset="sft"))
            rounded.optimizer_step(3e-3)
        assert seen(rounded).sum() > before.sum() + 5

    def test_samples_do_not_depend_on_what_was_sampled_before(self, load_policy: LoadPolicy, folder: Path) -> None:
        requests = [request(f"{i}", [1, 2, 3, 4, 5, 6, 7, 8, 9, i % 4], max_new_tokens=9) for i in range(12)]
        busy, fresh = load_policy(folder), load_policy(folder)
        for length in (3, 40):
            others = [request(f"x{i}", range(1, length + i), max_new_tokens=30) for i in range(17)]
            drive(busy.engine(), others)
            for item in others:
                busy.engine().release(item.session)
        assert drive(busy.engine(), requests) == drive(fresh.engine(), requests)


class ExportContract:
    """Exported students against other code that loads them."""

    @pytest.mark.parametrize("adapter", [None, SMALL], ids=["full", "adapter"])
    def test_exported_students_are_the_same_elsewhere(
        self,
        load_policy: LoadPolicy,
        load_exported: LoadExported,
        folder: Path,
        tmp_path: Path,
        adapter: AdapterSpec | None,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        policy = load_policy(folder, adapter)
        policy.prepare(OptimizerSpec())
        learn(policy, 3)
        before = seen(policy)
        capsys.readouterr()
        policy.export(tmp_path)
        assert capsys.readouterr().out == ""
        np.testing.assert_array_equal(seen(policy), before)
        agrees(policy, load_exported(tmp_path))
        np.testing.assert_allclose(seen(load_policy(tmp_path)), before, atol=1e-5)

    def test_exported_adapters_are_trained_further(self, load_policy: LoadPolicy, folder: Path, tmp_path: Path) -> None:
        policy = load_policy(folder, AdapterSpec(rank=2, alpha=7.0))
        policy.prepare(OptimizerSpec())
        learn(policy, 2)
        policy.export(tmp_path / "adapter", format="adapter")
        again = load_policy(folder, AdapterSpec(path=tmp_path / "adapter"))
        assert again.info.trainable == policy.info.trainable
        np.testing.assert_array_equal(seen(again), seen(policy))
        again.prepare(OptimizerSpec())
        again.snapshot_reference()
        learn(again, 2, kl=0.1)
        np.testing.assert_array_equal(seen(again, "reference"), seen(policy))
        assert np.abs(seen(again) - seen(policy)).max() > 1e-3

    def test_there_is_no_adapter_to_export(self, load_policy: LoadPolicy, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            load_policy(folder).export(tmp_path / "none", format="adapter")
        assert not (tmp_path / "none").exists()


GROUPS = ragged_groups(100)


def learn(policy: Policy, steps: int = 1, kl: float = 0.0) -> None:
    """Take steps of GRPO."""
    for _ in range(steps):
        policy.forward_backward(GROUPS, make_objective(preset="grpo", kl=kl))
        policy.optimizer_step(1e-2)


def seen(policy: Policy, weights: Literal["current", "reference"] = "current") -> NDArray[Any]:
    """Log-probabilities of the same tokens for every policy."""
    return flat(policy.log_probs(GROUPS, weights=weights))


def agrees(policy: Policy, oracle: Oracle, tolerance: float = TOLERANCE) -> None:
    """Check a policy's log-probabilities against an oracle's."""
    for group, rows in zip(GROUPS, policy.log_probs(GROUPS), strict=True):
        for completion, row in zip(group.completions, rows, strict=True):
            if len(row):
                logits = oracle([*group.prompt_ids, *completion.ids])[len(group.prompt_ids) - 1 : -1]
                found = log_softmax(logits, 1.0)[np.arange(len(row)), completion.ids] * completion.mask
                np.testing.assert_allclose(row, found, atol=tolerance)
