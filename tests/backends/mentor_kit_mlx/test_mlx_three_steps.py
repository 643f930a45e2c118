"""Both backends take three steps of GRPO from the same rollouts, and their students stay the same."""

from __future__ import annotations

from pathlib import Path

import mlx_students
import numpy as np
import pytest
import torch_students
from hybrid_students import own_name, write
from safetensors.numpy import load_file

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.testing.material import drive, group_of, request
from mentor_kit.testing.objectives import make_objective

#: A number under the root mean square that keeps a step from being the sign of what is rounding alone.
SPEC = OptimizerSpec(eps=1e-3)
PADDING = 0
PROMPTS = [list(range(1, 11)), [7, 8, 9, 40, 41]]


def weights(policy: Policy, folder: Path) -> dict[str, np.ndarray]:
    """What transformers reads, by names without the models that the student is inside of."""
    policy.export(folder, format="transformers")
    return {own_name(name): value for name, value in load_file(folder / "model.safetensors").items()}


@pytest.mark.parametrize("name", ["qwen3.5", "gemma4-inside"])
def test_nothing_is_trained_that_transformers_does_not_train(name: str, tmp_path: Path) -> None:
    twin = write(name, tmp_path)
    theirs = {own_name(parameter) for parameter, _ in twin.model.named_parameters()}
    assert {own_name(parameter) for parameter in mlx_students.load(tmp_path).trained()} <= theirs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3.5", "gemma4-inside", "lfm2"])
def test_three_steps(name: str, tmp_path: Path) -> None:
    write(name, tmp_path / "student")
    leading = torch_students.load(tmp_path / "student")
    policies: dict[str, Policy] = {"torch": leading, "mlx": mlx_students.load(tmp_path / "student")}
    before = {key: weights(policy, tmp_path / f"{key}-before") for key, policy in policies.items()}
    for policy in policies.values():
        policy.snapshot_reference()
        policy.prepare(SPEC)
    for step in range(3):
        groups = []
        for place, prompt in enumerate(PROMPTS):
            asked = [request(f"{step}.{place}.{g}", prompt, seed=20 * step + g, max_new_tokens=8) for g in range(12)]
            done = drive(leading.engine(), asked)
            # transformers has no gradient for the embedding of padding, which only a random student samples
            taken = [done[one.id] for one in asked if PADDING not in done[one.id].ids][:4]
            groups.append(group_of(prompt, taken, [1.5, -0.5, -1.0, 0.25]))
        for policy in policies.values():
            policy.forward_backward(groups, make_objective(preset="grpo", kl=0.05))
            policy.optimizer_step(5e-4)
    changes = {}
    for key, policy in policies.items():
        after = weights(policy, tmp_path / f"{key}-after")
        changes[key] = {own: value - before[key][own] for own, value in after.items()}
    shared = changes["torch"].keys() & changes["mlx"].keys()
    learned = {own for own in changes["torch"] if np.abs(changes["torch"][own]).max() > 0}
    assert learned
    assert learned <= shared
    theirs, ours = (np.concatenate([changes[key][own].ravel() for own in sorted(learned)]) for key in ("torch", "mlx"))
    assert np.linalg.norm(ours - theirs) < 1e-3 * np.linalg.norm(theirs)
