"""Updates for which MLX has no memory: run again in smaller micro-batches, with the same gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentor_kit_mlx import policy as policies
from mentor_kit_mlx.memory_errors import OutOfMemoryError, memory_errors
from mlx_students import load

from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import GENTLE, flat, ragged_groups
from mentor_kit.testing.objectives import make_objective

GROUPS = ragged_groups(100)


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """MLX has no memory so many times: a stand-in with the words of Metal's allocator."""
    plain, left = getattr(policies, name), [times]

    def run(*arguments: Any, **named: Any) -> Any:
        found = plain(*arguments, **named)
        if left[0]:
            left[0] -= 1
            raise RuntimeError("[metal::malloc] Attempting to allocate 48736917632 bytes which is greater than …")
        return found

    monkeypatch.setattr(policies, name, run)


@pytest.mark.parametrize(
    "words",
    [
        "[malloc] Unable to allocate 70368744177664 bytes.",
        "[metal::malloc] Attempting to allocate 48736917632 bytes which is greater than the maximum",
        "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPU…)",
    ],
)
def test_errors_of_memory_are_told_from_others(words: str) -> None:
    """By the words of MLX's allocators; on a CPU MLX raises nothing, so that they are given here."""
    with pytest.raises(OutOfMemoryError), memory_errors():
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="another") as caught, memory_errors():
        raise RuntimeError("another error")
    assert not isinstance(caught.value, OutOfMemoryError)


@pytest.mark.slow
def test_an_update_goes_on_as_if_undisturbed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    objective = make_objective(kl=0.1)
    expected, disturbed = load(folder), load(folder)
    for policy in (expected, disturbed):
        policy.prepare(GENTLE)
        policy.snapshot_reference()
        policy.forward_backward(GROUPS[:1], objective)
    right = expected.forward_backward(GROUPS, objective).loss
    with monkeypatch.context() as patch:
        refuse(patch, "loss_and_gradients", 1)
        assert disturbed.forward_backward(GROUPS, objective).loss == pytest.approx(right, abs=1e-6)
    assert sum("out of memory" in line for line in caplog.messages) == 1
    assert disturbed.token_budget < expected.token_budget
    names = expected.gradient_names()
    found, own = disturbed.gradients(names), expected.gradients(names)
    for name in names:
        np.testing.assert_allclose(np.array(found[name]), np.array(own[name]), atol=1e-6, err_msg=name)
    with monkeypatch.context() as patch:
        refuse(patch, "completion_log_probs", 1)
        scores = flat(disturbed.log_probs(GROUPS))
    np.testing.assert_allclose(scores, flat(expected.log_probs(GROUPS)), atol=1e-5)


@pytest.mark.slow
def test_one_completion_for_which_there_is_no_memory_ends_the_update(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load(folder)
    policy.prepare(GENTLE)
    refuse(monkeypatch, "loss_and_gradients", 99)
    with pytest.raises(BackendError, match="out of memory in an update"):
        policy.forward_backward(GROUPS, make_objective(kl=0.0))
    assert policy.gradient_names() == []
