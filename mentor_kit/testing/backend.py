"""The contract of a backend: numbers, masks, batching, versions, checkpoints and errors; subclass it in its tests.

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def policy_factory(self): ...     # token_budget -> a fresh policy, in float32, always of the same weights
        @pytest.fixture
        def oracle(self): ...             # ids -> logits (T, V) in float64, computed by other code

`mentor_kit.testing.precision` says how policies in 16 bits are tested.

The model should be tiny, with a vocabulary of at least 32 and a context of at least 64 tokens. Everything goes
through `mentor_kit.backend.policy`; the oracle is the only other source of numbers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import BackendError, DataError, UsageError
from mentor_kit.rl.objective import PRESETS, Objective
from mentor_kit.testing.material import (
    GENTLE,
    Oracle,
    PolicyFactory,
    changed,
    drive,
    flat,
    group_of,
    log_softmax,
    ragged_groups,
    request,
)
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.precision import Unrounded
from mentor_kit.testing.sampling import SamplingContract

TEMPERATURES = (0.7, 1.0, 1.3)


class BackendContract(SamplingContract):
    """The tests; see the module for the two fixtures a subclass gives."""

    export_format: ClassVar[str] = "transformers"
    """One that the backend writes of a whole student."""

    # numbers

    @pytest.mark.parametrize("temperature", TEMPERATURES)
    def test_log_probs_are_the_oracles(self, policy: Policy, oracle: Oracle, temperature: float) -> None:
        groups = ragged_groups(policy.info.vocabulary, temperature=temperature)
        found = policy.log_probs(groups)
        for group, rows in zip(groups, found, strict=True):
            for completion, row in zip(group.completions, rows, strict=True):
                expected = _expected(oracle, group, completion)
                np.testing.assert_allclose(row, expected, atol=self.rounding)

    @pytest.mark.parametrize("temperature", TEMPERATURES)
    def test_the_update_sees_what_was_sampled(self, policy: Policy, temperature: float) -> None:
        prompts = [[1, 2, 3], [4, 5, 6, 7, 8, 9]]
        requests = [
            request(f"{p}.{g}", prompts[p], temperature=temperature, session=f"s{p}.{g}", top_k=20 * g)
            for p in range(2)
            for g in range(3)
        ]
        done = drive(policy.engine(), requests)
        groups = [
            group_of(prompts[p], [done[f"{p}.{g}"] for g in range(3)], [1.0, -1.0, 0.5], temperature) for p in range(2)
        ]
        np.testing.assert_allclose(
            flat(policy.log_probs(groups)),
            np.concatenate([c.log_probs for group in groups for c in group.completions]),
            atol=self.rounding,
        )
        values = policy.forward_backward(groups, make_objective(preset="dapo")).values
        assert values["mismatch_max"] < self.rounding

    # batching

    def test_the_update_does_not_depend_on_micro_batches(self, policy_factory: PolicyFactory) -> None:
        found = []
        for budget in (1, 40, 10_000):
            policy = policy_factory(budget)
            policy.prepare(GENTLE)
            groups = ragged_groups(policy.info.vocabulary)
            metrics = policy.forward_backward(groups, make_objective(preset="dapo"))
            step = policy.optimizer_step(0.5)
            found.append([metrics.loss, step.gradient_norm, *metrics.values.values(), *flat(policy.log_probs(groups))])
        np.testing.assert_allclose(found[1], found[0], rtol=self.rounding, atol=self.rounding / 10)
        np.testing.assert_allclose(found[2], found[0], rtol=self.rounding, atol=self.rounding / 10)

    def test_a_shared_prompt_changes_nothing(self, policy_factory: PolicyFactory) -> None:
        found = []
        for shared in (True, False):
            policy = policy_factory(None)
            policy.prepare(GENTLE)
            groups = ragged_groups(policy.info.vocabulary)
            apart = [TokenGroup(g.prompt_ids, (c,), g.temperature) for g in groups for c in g.completions]
            metrics = policy.forward_backward(groups if shared else apart, make_objective(preset="dapo"))
            step = policy.optimizer_step(0.5)
            found.append([metrics.loss, step.gradient_norm, *flat(policy.log_probs(groups))])
        np.testing.assert_allclose(found[1], found[0], rtol=self.rounding, atol=self.rounding / 10)

    def test_two_calls_add_up(self, policy_factory: PolicyFactory) -> None:
        objective = make_objective(preset="rloo")
        norms = []
        for repeats in (1, 2):
            policy = policy_factory(None)
            policy.prepare(GENTLE)
            for _ in range(repeats):
                policy.forward_backward(ragged_groups(policy.info.vocabulary), objective)
            norms.append(policy.optimizer_step(0.0).gradient_norm)
        assert norms[1] == pytest.approx(2 * norms[0], rel=self.rounding)

    # masks

    def test_inserted_tokens_are_not_trained_on(self, policy_factory: PolicyFactory) -> None:
        found = []
        for noise in (0.0, 3.0):
            policy = policy_factory(None)
            policy.prepare(GENTLE)
            groups = [
                changed(
                    group,
                    log_probs=lambda c, by=noise: c.log_probs - by * (1 - c.mask),
                    advantage=lambda c, by=noise: c.advantage * np.ones_like(c.mask) + by * (1 - c.mask),
                )
                for group in ragged_groups(policy.info.vocabulary)
            ]
            metrics = policy.forward_backward(groups, make_objective(preset="cispo"))
            found.append([metrics.loss, policy.optimizer_step(0.0).gradient_norm, *metrics.values.values()])
        assert found[0] == found[1]

    # advantages of tokens

    def test_one_advantage_for_all_tokens_is_the_same_for_each(self, policy_factory: PolicyFactory) -> None:
        found = []
        for each in (False, True):
            policy = policy_factory(None)
            policy.prepare(GENTLE)
            groups = ragged_groups(policy.info.vocabulary)
            if each:
                groups = [changed(group, advantage=lambda c: c.advantage * np.ones_like(c.mask)) for group in groups]
            metrics = policy.forward_backward(groups, make_objective(preset="dapo"))
            step = policy.optimizer_step(0.5)
            found.append([metrics.loss, step.gradient_norm, *flat(policy.log_probs(groups))])
        np.testing.assert_allclose(found[1], found[0], rtol=self.rounding, atol=self.rounding / 10)

    def test_an_advantage_of_single_tokens_moves_as_training_them_alone(self, policy_factory: PolicyFactory) -> None:
        # an advantage of 0 is a mask of 0 under `rloo`, whose divisor is the number of sequences
        found = []
        for masked in (False, True):
            policy = policy_factory(40)
            policy.prepare(GENTLE)
            groups = ragged_groups(policy.info.vocabulary)
            chosen = [
                changed(
                    group, **({"mask": _first_of} if masked else {"advantage": lambda c: c.advantage * _first_of(c)})
                )
                for group in groups
            ]
            metrics = policy.forward_backward(chosen, make_objective(preset="rloo"))
            step = policy.optimizer_step(0.5)
            found.append([metrics.loss, step.gradient_norm, *flat(policy.log_probs(groups))])
        np.testing.assert_allclose(found[1], found[0], rtol=self.rounding, atol=self.rounding / 10)

    def test_a_policy_that_never_learns_reads_tokens(self, policy_factory: PolicyFactory, policy: Policy) -> None:
        """As a teacher's whose log-probabilities are distilled: without an optimizer, and without any change."""
        groups = ragged_groups(policy.info.vocabulary)
        reader = policy_factory(None)
        first = flat(reader.log_probs(groups))
        np.testing.assert_allclose(first, flat(policy.log_probs(groups)), atol=self.rounding)
        np.testing.assert_array_equal(flat(reader.log_probs(groups)), first)

    @pytest.mark.parametrize("preset", sorted(PRESETS))
    def test_an_update_makes_good_tokens_likelier(self, policy: Policy, unrounded: Unrounded, preset: str) -> None:
        done = drive(policy.engine(), [request(f"{i}", [1, 2, 3], max_new_tokens=5) for i in range(2)])
        groups = [group_of([1, 2, 3], [done["0"], done["1"]], [1.0, -1.0])]
        # rounding alone would leave gspo's narrow bounds: the policy's own log-probabilities before the update stand
        groups = [_with_old(group, rows) for group, rows in zip(groups, policy.log_probs(groups), strict=True)]
        objective = make_objective(preset=preset)
        if objective.spec.needs_reference:
            policy.snapshot_reference()
        before = unrounded(policy).log_probs(groups)
        policy.forward_backward(groups, objective)
        policy.optimizer_step(0.02)
        after = unrounded(policy).log_probs(groups)
        good, bad = (float((after[0][i] - before[0][i]).sum()) for i in range(2))
        if preset == "sft":
            assert good + bad > 0  # its advantages mean nothing
        else:
            assert good > 0 > bad

    def test_nothing_to_train_on(self, policy: Policy) -> None:
        empty = changed(ragged_groups(policy.info.vocabulary)[0], mask=lambda c: np.zeros_like(c.mask))
        for groups in ([], [TokenGroup(np.array([1]), ())], [empty]):
            metrics = policy.forward_backward(groups, make_objective(preset="dapo"))
            assert (metrics.loss, metrics.tokens, metrics.sequences) == (0.0, 0, 0)
            assert not any(array.any() for rows in policy.log_probs(groups) for array in rows)
        assert policy.optimizer_step(0.1).gradient_norm == 0.0

    # sessions

    def test_new_weights_are_used_at_once(self, policy: Policy) -> None:
        engine = policy.engine()
        before = drive(engine, [request("a", range(1, 20), session="s", temperature=0.7)])["a"]
        groups = [group_of(range(1, 20), [before], [1.0], 0.7)]
        policy.forward_backward(groups, make_objective(preset="rloo"))
        assert policy.optimizer_step(1.0).version == 1
        context = [*range(1, 20), *before.ids]
        after = drive(engine, [request("b", context, session="s", temperature=0.7)])["b"]
        assert (before.version, after.version) == (0, 1)
        now = policy.log_probs([group_of(context, [after], [0.0], 0.7)])
        np.testing.assert_allclose(flat(now), after.log_probs, atol=self.rounding)

    # keeping

    def test_restored_policies_go_on_with_the_same_bits(self, policy_factory: PolicyFactory, tmp_path: Path) -> None:
        objective = make_objective(preset="grpo", kl=0.1)
        policy, twin = policy_factory(None), policy_factory(None)
        policy.prepare(OptimizerSpec())
        policy.snapshot_reference()
        groups = ragged_groups(policy.info.vocabulary)
        _learn(policy, groups, objective)
        tmp_path.joinpath("kept").mkdir()
        policy.save(tmp_path / "kept")
        drive(policy.engine(), [request("between", range(1, 30), max_new_tokens=20)])
        policy.engine().release("between")
        twin.restore(tmp_path / "kept")
        for _ in range(2):
            assert _learn(policy, groups, objective) == _learn(twin, groups, objective)
            requests = [request(f"{i}", range(1, 4 + i % 3), max_new_tokens=3 + i) for i in range(5)]
            assert drive(policy.engine(), requests) == drive(twin.engine(), requests)
            for item in requests:
                policy.engine().release(item.session)
                twin.engine().release(item.session)
        for weights in ("current", "reference"):
            mine, theirs = policy.log_probs(groups, weights=weights), twin.log_probs(groups, weights=weights)
            np.testing.assert_array_equal(flat(mine), flat(theirs))

    def test_the_reference_stays(self, policy: Policy) -> None:
        groups = ragged_groups(policy.info.vocabulary)
        policy.snapshot_reference()
        before = flat(policy.log_probs(groups))
        first = policy.forward_backward(groups, make_objective(preset="grpo", kl=1.0))
        assert first.values["kl"] == pytest.approx(0.0, abs=1e-6)
        policy.optimizer_step(1.0)
        np.testing.assert_allclose(flat(policy.log_probs(groups, weights="reference")), before, atol=1e-5)
        assert np.abs(flat(policy.log_probs(groups)) - before).max() > 1e-3
        assert policy.forward_backward(groups, make_objective(preset="grpo", kl=1.0)).values["kl"] > 0

    def test_an_update_with_nothing_to_train(self, policy: Policy) -> None:
        """All masked, or no completions at all: no metrics, no gradient, and the weights stay."""
        groups = ragged_groups(policy.info.vocabulary)
        masked = [changed(group, mask=lambda c: np.zeros_like(c.mask)) for group in groups]
        empty = [TokenGroup(group.prompt_ids, ()) for group in groups]
        before = flat(policy.log_probs(groups))
        for nothing in (masked, empty, [*masked, *empty], []):
            found = policy.forward_backward(nothing, make_objective(preset="dapo"))
            assert (found.loss, found.tokens, found.sequences, found.values) == (0.0, 0, 0, {})
            done = policy.optimizer_step(1.0)
            assert (done.gradient_norm, done.clipped) == (0.0, False)
            np.testing.assert_array_equal(flat(policy.log_probs(groups)), before)
        # what is masked beside others has no part in it
        first = policy.forward_backward(groups, make_objective(preset="sft"))
        both = policy.forward_backward([*masked[:1], *groups, *empty], make_objective(preset="sft"))
        assert both.loss == pytest.approx(first.loss, abs=self.rounding / 10)
        assert both.tokens == first.tokens

    @pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
    @pytest.mark.parametrize("umask", [0o022, 0o027], ids=oct)
    def test_files_have_the_modes_of_new_files(self, policy: Policy, tmp_path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            policy.snapshot_reference()
            policy.save(tmp_path / "checkpoint")
            policy.export(tmp_path / "whole", format=self.export_format)
        finally:
            os.umask(before)
        paths = [path for name in ("checkpoint", "whole") for path in (tmp_path / name, *(tmp_path / name).rglob("*"))]
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()} == {0o777 & ~umask}
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o666 & ~umask}

    # errors

    def test_what_cannot_be_done_is_refused(
        self, policy: Policy, policy_factory: PolicyFactory, tmp_path: Path
    ) -> None:
        engine, limit = policy.engine(), policy.info.context
        for bad in (request("long", [1] * limit), request("none", []), request("odd", [policy.info.vocabulary])):
            with pytest.raises(BackendError):
                engine.submit(bad)
        assert not engine.busy
        long = TokenCompletion(np.ones(limit, np.int64), np.ones(limit, np.float32), np.zeros(limit, np.float32))
        with pytest.raises(BackendError):
            policy.forward_backward([TokenGroup(np.array([1]), (long,))], make_objective(preset="sft"))
        with pytest.raises(BackendError):
            policy_factory(None).forward_backward(ragged_groups(policy.info.vocabulary), make_objective(preset="sft"))
        with pytest.raises(UsageError):
            policy.export(tmp_path, format="papyrus")
        with pytest.raises(DataError):
            policy.restore(tmp_path)

    def test_a_loss_that_is_not_finite_changes_nothing(self, policy: Policy) -> None:
        groups = ragged_groups(policy.info.vocabulary)
        before = flat(policy.log_probs(groups))
        bad = [changed(group, advantage=lambda c: float("nan")) for group in groups]
        with pytest.raises(BackendError):
            policy.forward_backward(bad, make_objective(preset="rloo"))
        policy.optimizer_step(0.0)
        np.testing.assert_array_equal(flat(policy.log_probs(groups)), before)


def _first_of(completion: TokenCompletion) -> NDArray[np.float32]:
    """1 at a completion's first token, which is a trained one."""
    first: NDArray[np.float32] = (np.arange(len(completion.mask)) == 0).astype(np.float32)
    return first


def _with_old(group: TokenGroup, rows: Sequence[NDArray[np.float32]]) -> TokenGroup:
    completions = zip(group.completions, rows, strict=True)
    return replace(group, completions=tuple(replace(one, old_log_probs=old) for one, old in completions))


def _expected(oracle: Oracle, group: TokenGroup, completion: TokenCompletion) -> NDArray[np.float64]:
    start, ids = len(group.prompt_ids), completion.ids
    if not len(ids):
        return np.zeros(0)
    rows = log_softmax(oracle([*group.prompt_ids, *ids])[start - 1 : -1], group.temperature)
    result: NDArray[np.float64] = rows[np.arange(len(ids)), ids] * completion.mask
    return result


def _learn(policy: Policy, groups: Sequence[TokenGroup], objective: Objective) -> tuple[Any, ...]:
    metrics = policy.forward_backward(groups, objective)
    return metrics, policy.optimizer_step(1e-2)
