"""The arithmetic of exported objectives: verl's functions with our configuration, and ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from verl_exports import exported
from verl_process import in_verl

from mentor_kit.hooks.objectives import build_objective
from mentor_kit.rl.advantages.estimator import Outcomes
from mentor_kit.rl.losses.aggregation import token_weights
from mentor_kit.rl.losses.loss import LossBatch
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit.rl.policy_loss import policy_loss

pytestmark = [pytest.mark.verl, pytest.mark.timeout(600)]

#: Tokens of the quickstart's longest response.
LONGEST_RESPONSE = 256


def batch() -> dict[str, Any]:
    """Four problems of two rollouts: log-probabilities apart enough for every bound to be met."""
    rng = np.random.default_rng(7)
    shape = (8, 12)
    mask = (np.arange(12) < rng.integers(3, 13, size=(8, 1))).astype(float) * (rng.random(shape) < 0.8)
    old = -rng.exponential(1.0, shape) * mask
    arrays = {
        "mask": mask,
        "old": old,
        "sampled": (old + rng.normal(0, 0.2, shape)) * mask,
        "log_probs": (old + rng.normal(0, 0.4, shape)) * mask,
        "reference": (old + rng.normal(0, 0.4, shape)) * mask,
        "entropy": rng.exponential(1.0, shape) * mask,
        "rewards": rng.random(8),
    }
    return {"group": 2, **{name: array.tolist() for name, array in arrays.items()}}


#: Objectives, with the number of updates of a step.
OBJECTIVES: dict[str, tuple[dict[str, Any], int]] = {
    "grpo": ({"preset": "grpo", "kl": 0.05}, 1),
    "several updates": ({"preset": "grpo", "kl": 0.05, "kl_estimator": "k2", "entropy": 0.01}, 2),
    "dual clip": ({"preset": "dapo", "loss": {"use": "ppo", "with": {"clip_dual": 1.2}}}, 1),
    "dr-grpo": ({"preset": "dr-grpo", "kl": 0.05, "kl_estimator": "k1"}, 2),
    "dapo": ({"preset": "dapo", "importance_cap": 1.1}, 1),
    "rloo": ({"preset": "rloo"}, 1),
    "gspo": ({"preset": "gspo"}, 2),
    "cispo": ({"preset": "cispo", "loss": {"use": "cispo", "with": {"clip_high": 0.3}}}, 2),
}


def test_gradients_are_those_of_our_objectives(tmp_path: Path) -> None:
    """The mapping of objectives, by arithmetic: verl's functions with the exported configuration, and ours."""
    given, folders = batch(), [tmp_path / name for name in OBJECTIVES]
    (tmp_path / "batch.json").write_text(json.dumps(given))
    for folder, (objective, updates) in zip(folders, OBJECTIVES.values(), strict=True):
        exported(folder, {"train.0.objective": objective, "train.0.epochs": updates, "evaluate.on": []})
    verls = in_verl("gradients", tmp_path / "batch.json", *folders)
    for found, (objective, updates), name in zip(verls, OBJECTIVES.values(), OBJECTIVES, strict=True):
        expected = our_gradients(given, objective, updates)
        for key, array in expected.items():
            np.testing.assert_allclose(found[key], array, rtol=2e-5, atol=1e-9, err_msg=f"{name}: {key}")


def our_gradients(given: dict[str, Any], objective: dict[str, Any], updates: int) -> dict[str, Any]:
    spec = ObjectiveSpec.model_validate(objective)
    spec = spec.model_copy(update={"constant_length": spec.constant_length or LONGEST_RESPONSE})
    built = build_objective(spec)
    arrays = {name: torch.tensor(value, dtype=torch.float64) for name, value in given.items() if name != "group"}
    log_probs, entropy = (arrays[name].requires_grad_() for name in ("log_probs", "entropy"))
    rewards = np.array(given["rewards"]).reshape(-1, given["group"])
    advantages = torch.tensor(
        built.advantages(Outcomes(rewards, np.ones_like(rewards), np.ones_like(rewards)))
    ).reshape(-1, 1)
    masks = [np.array(row, dtype=np.float32) for row in given["mask"]]
    weights = token_weights(spec.aggregation, masks, spec.constant_length)
    recomputed = updates > 1 or spec.importance_cap is not None
    loss = policy_loss(
        torch,
        built,
        LossBatch(
            log_probs=log_probs,
            sampled=arrays["sampled"],
            advantages=advantages * arrays["mask"],
            mask=arrays["mask"],
            weights=torch.tensor(np.array(weights), dtype=torch.float64),
            old=arrays["old"] if recomputed else None,
            reference=arrays["reference"] if spec.needs_reference else None,
            entropy=entropy if spec.needs_entropy else None,
        ),
    ).loss
    loss.backward()
    grads = {"log_probs": log_probs.grad, "entropy": entropy.grad if spec.needs_entropy else torch.zeros(8, 12)}
    return {"advantages": (advantages * arrays["mask"]).numpy(), **{name: grad.numpy() for name, grad in grads.items()}}
