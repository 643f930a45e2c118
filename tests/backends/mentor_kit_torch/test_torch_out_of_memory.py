"""Updates for which a device has no memory: run again in smaller micro-batches, with the same gradients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch.policy import TorchPolicy
from torch_students import load

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import flat, ragged_groups
from mentor_kit.testing.objectives import make_objective

GROUPS = ragged_groups(100)


@contextmanager
def refused(policy: TorchPolicy, where: str, times: int = 1) -> Iterator[list[str]]:
    """The device refuses memory so many times: in the forward pass, or in the backward pass at a layer's weights."""
    happened: list[str] = []

    def refuse(*_: Any) -> None:
        if len(happened) < times:
            happened.append(where)
            raise torch.OutOfMemoryError("a stand-in")

    parameters = dict(policy.model.named_parameters())
    chosen = parameters["model.layers.0.mlp.up_proj.weight"]
    if where == "forward":
        hook = policy.model.model.norm.register_forward_pre_hook(refuse)
        plain, policy.lm.fused = policy.lm.fused, None
    else:
        # when some of the gradients of this micro-batch are added already, and others not
        hook, plain = chosen.register_hook(refuse), policy.lm.fused
    try:
        yield happened
    finally:
        hook.remove()
        policy.lm.fused = plain


def gradients(policy: TorchPolicy) -> dict[str, np.ndarray]:
    found = policy.gradients(policy.gradient_names())
    return {name: value.numpy().copy() for name, value in found.items()}


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.slow
def test_an_update_goes_on_as_if_undisturbed(
    where: str, dtype: str, times: int, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objective = make_objective(kl=0.1)
    expected = load(folder, dtype=dtype)
    disturbed = load(folder, dtype=dtype)
    for policy in (expected, disturbed):
        policy.prepare(OptimizerSpec())
        policy.snapshot_reference()
        # gradients of an earlier call are there already
        policy.forward_backward(GROUPS[:1], objective)
    with refused(disturbed, where, times) as happened:
        loss = disturbed.forward_backward(GROUPS, objective).loss
    assert happened == [where] * times
    right = expected.forward_backward(GROUPS, objective).loss
    exact = dtype == "float32"
    assert loss == pytest.approx(right, abs=1e-6 if exact else 2e-2)
    own = gradients(expected)
    assert own.keys() == gradients(disturbed).keys()
    for name, found in gradients(disturbed).items():
        np.testing.assert_allclose(found, own[name], atol=1e-6 if exact else 2e-2, err_msg=name)
    lines = [line for line in caplog.messages if "out of memory" in line]
    assert len(lines) == times
    assert disturbed.token_budget < expected.token_budget
    assert all(parameter.requires_grad for parameter in disturbed.model.parameters())
    np.testing.assert_allclose(
        flat(disturbed.log_probs(GROUPS)), flat(expected.log_probs(GROUPS)), atol=1e-5 if exact else 0.1
    )


@pytest.mark.slow
def test_what_was_halved_stays_so_in_a_resumed_run(folder: Path, tmp_path: Path) -> None:
    policy = load(folder)
    policy.prepare(OptimizerSpec())
    policy.save(tmp_path / "before")
    with refused(policy, "backward"):
        policy.forward_backward(GROUPS, make_objective(kl=0.0))
    policy.optimizer_step(1e-3)
    policy.save(tmp_path / "after")
    again = load(folder)
    again.restore(tmp_path / "after")
    assert again.token_budget == policy.token_budget < 16384
    assert "found" not in json.loads((tmp_path / "before" / "policy.json").read_text())
    losses = [each.forward_backward(GROUPS, make_objective(kl=0.0)).loss for each in (policy, again)]
    assert losses[0] == losses[1]
    again.restore(tmp_path / "before")
    assert again.token_budget == 16384


@pytest.mark.slow
def test_one_completion_for_which_there_is_no_memory_ends_the_update(folder: Path) -> None:
    policy = load(folder)
    policy.prepare(OptimizerSpec())
    with refused(policy, "backward", 99), pytest.raises(BackendError, match="out of memory in an update"):
        policy.forward_backward(GROUPS, make_objective(kl=0.0))
    assert policy.gradient_names() == []


@pytest.mark.slow
def test_a_found_budget_is_kept_in_a_resumed_run(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It follows from the memory that the first process found; what the second finds differs a little."""

    def made(gib: float) -> TorchPolicy:
        return load(folder, token_budget="auto", memory=gib)

    def warned() -> int:
        return sum("less memory than when this was saved" in line for line in caplog.messages)

    policy = made(0.8)
    policy.prepare(OptimizerSpec())
    budget = policy.token_budget
    policy.save(tmp_path)
    other = made(0.79)
    other.prepare(OptimizerSpec())
    again = made(0.79)
    again.restore(tmp_path)
    assert again.token_budget == budget
    again.prepare(OptimizerSpec())
    assert again.token_budget == budget
    assert json.loads((tmp_path / "policy.json").read_text())["found"]["token_budget"] == budget
    assert warned() == 0
    # where there is much less, what is there counts
    less, plain = made(0.2), made(0.2)
    less.restore(tmp_path)
    assert warned() == 1
    for each in (less, plain):
        each.prepare(OptimizerSpec())
    assert less.token_budget == plain.token_budget


@pytest.mark.parametrize(("saved", "own", "held"), [(1.2, 1.0, 1.0), (1.03, 1.0, 1.03), (0.8, 1.0, 0.8)])
def test_a_limit_that_options_give_is_not_exceeded_by_a_checkpoints(
    folder: Path, tmp_path: Path, saved: float, own: float, held: float
) -> None:
    """As where a student goes on beside a teacher that has the rest; a little more is, for the same micro-batches."""
    before = load(folder, memory=saved, token_budget="auto")
    before.prepare(OptimizerSpec())
    before.save(tmp_path / "policy")
    after = load(folder, memory=own, token_budget="auto")
    after.restore(tmp_path / "policy")
    limits = after.found_limits()
    assert limits is not None
    assert limits.memory == int(held * (1 << 30))
