"""Gradients and updates: of the shared path against whole sequences, and of both backends against one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch_students
from mentor_kit_mlx.policy import MLXPolicy
from mentor_kit_mlx.update import loss_and_gradients
from mlx_students import load, nudge_adapter, weights

from mentor_kit.backend.microbatching import micro_batches
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.rl.objective import PRESETS, Objective
from mentor_kit.testing.material import drive, flat, group_of, ragged_groups, request
from mentor_kit.testing.objectives import make_objective


def gradients(
    policy: MLXPolicy, groups: Sequence[TokenGroup], objective: Objective, share: bool = True, budget: int = 60
) -> dict[str, np.ndarray]:
    total: dict[str, np.ndarray] = {}
    for batch in micro_batches(groups, budget, objective):
        reference = policy.log_probs_of(batch) - 0.1 * mx.array(batch.mask)
        found = loss_and_gradients(policy.lm, batch, objective, reference, share=share)[1]
        for name, value in found.items():
            total[name] = total.get(name, 0.0) + np.array(value, dtype=np.float64)
    return total


def distance(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    assert found.keys() == expected.keys()
    scale = max(float(np.linalg.norm(value)) for value in expected.values())
    return max(float(np.linalg.norm(found[name] - value)) for name, value in expected.items()) / scale


@pytest.mark.spread
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "adapter"])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_shared_prompt_has_the_gradient_of_whole_sequences(folder: Path, preset: str, adapted: bool) -> None:
    policy = load(folder, AdapterSpec(rank=4) if adapted else None)
    if adapted:
        nudge_adapter(policy)
    groups, objective = ragged_groups(100, temperature=0.8), make_objective(preset=preset)
    apart = [TokenGroup(g.prompt_ids, (c,), g.temperature) for g in groups for c in g.completions]
    expected = gradients(policy, apart, objective, share=False, budget=1)
    assert distance(gradients(policy, groups, objective), expected) < 1e-5


def test_large_heads_are_computed_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, groups, objective = load(folder), ragged_groups(100), make_objective(preset="rloo")
    expected = gradients(policy, groups, objective)
    before = weights(policy)
    monkeypatch.setattr("mentor_kit_mlx.chunked_logprobs.LARGEST_LOGITS", 300)
    # the table of tokens is the output projection too: its gradient comes from both ends
    assert distance(gradients(policy, groups, objective), expected) < 1e-5
    assert all(np.array_equal(value, before[name]) for name, value in weights(policy).items())


def test_every_trained_parameter_has_a_gradient(folder: Path) -> None:
    """`nn.value_and_grad` would differentiate only the module it is given."""
    policy = load(folder)
    found = gradients(policy, ragged_groups(100), make_objective(preset="sft"))
    assert found.keys() == weights(policy).keys()
    assert all(np.abs(value).max() > 0 for value in found.values())


@pytest.mark.parametrize("preset", ["grpo", "dapo"])
def test_three_steps_are_those_of_torch(folder: Path, preset: str) -> None:
    """The same rollouts, learning rate 3e-4, float32: the updates and the log-probabilities afterwards agree."""
    torch_policy, policy = torch_students.load(folder), load(folder)
    before = weights(policy)
    objective = make_objective(preset=preset)
    prompts = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13]]
    seen = []
    for one in (torch_policy, policy):
        one.prepare(OptimizerSpec())
        one.snapshot_reference()
    for step in range(3):
        requests = [request(f"{step}.{p}.{g}", prompts[p], max_new_tokens=6 + g) for p in range(2) for g in range(4)]
        done = drive(torch_policy.engine(), requests)
        groups = [
            group_of(prompts[p], [done[f"{step}.{p}.{g}"] for g in range(4)], [1.0, -1.0, 0.5, -0.5]) for p in range(2)
        ]
        seen += groups
        for one in (torch_policy, policy):
            one.forward_backward(groups, objective)
            one.optimizer_step(3e-4)
    theirs = {name: value.detach().numpy() for name, value in torch_policy.model.named_parameters()}
    ours = weights(policy)
    assert ours.keys() == theirs.keys()
    update = np.concatenate([(theirs[name] - before[name]).ravel() for name in sorted(ours)])
    other = np.concatenate([(ours[name] - before[name]).ravel() for name in sorted(ours)])
    assert np.linalg.norm(other - update) <= 1e-3 * np.linalg.norm(update)
    np.testing.assert_allclose(flat(policy.log_probs(seen)), flat(torch_policy.log_probs(seen)), atol=1e-4)


def test_both_backends_speak_alike(folder: Path) -> None:
    requests = [
        request(f"{t}.{i}", range(1, 6 + i), temperature=t, max_new_tokens=12) for t in (0.0, 0.8) for i in range(4)
    ]
    ours, theirs = (drive(one.engine(), requests) for one in (load(folder), torch_students.load(folder)))
    for item in requests:
        assert ours[item.id].ids == theirs[item.id].ids
        np.testing.assert_allclose(ours[item.id].log_probs, theirs[item.id].log_probs, atol=1e-4)
