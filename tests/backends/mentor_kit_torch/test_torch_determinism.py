"""The option `deterministic`: operations that PyTorch cannot repeat end a run, and are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mentor_kit_torch.determinism import WORKSPACE, make_deterministic
from pretend_device import Held, Pretending, load_there, pretend
from torch_students import load

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.rl.objective import PRESETS
from mentor_kit.testing.material import drive, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

__all__ = ["pretend"]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    on, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    yield
    torch.use_deterministic_algorithms(on, warn_only=warns)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.slow
def test_an_operation_that_does_not_repeat_is_named(asked: bool, folder: Path) -> None:
    """`put_` is one on every device."""
    policy = load(folder, deterministic=asked)
    policy.prepare(OptimizerSpec())
    policy.forward_backward(ragged_groups(100), make_objective(kl=0.0))  # none of its own is
    drive(policy.engine(), [request("0", [1, 2, 3], temperature=0.8, max_new_tokens=4)])

    def stand_in(module: object, given: object, out: object) -> None:
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))

    policy.lm.decoder.embed_tokens.register_forward_hook(stand_in)
    if not asked:
        policy.forward_backward(ragged_groups(100), make_objective(kl=0.0))
        return
    with pytest.raises(BackendError, match="no deterministic put_"):
        policy.forward_backward(ragged_groups(100), make_objective(kl=0.0))
    with pytest.raises(BackendError, match="no deterministic put_"):
        drive(policy.engine(), [request("1", [1, 2, 3], temperature=0.8, max_new_tokens=4)])


@pytest.mark.spread
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("more", [{}, {"top_p": 0.8, "top_k": 9}], ids=["all", "filtered"])
def test_what_cuda_refuses_is_not_asked_of_a_device(
    count: int, more: dict[str, float], folder: Path, pretend: Pretending
) -> None:
    """`cumsum` is refused there; sampling is not, an update neither, and tokens are those of the CPU."""
    requests = [request(str(n), [1, 2, 3 + n], temperature=0.8, max_new_tokens=4, seed=n, **more) for n in range(count)]
    expected = drive(load(folder).engine(), requests)
    policy = load_there(folder, deterministic=True)
    with pytest.raises(RuntimeError, match="cumsum_cuda_kernel does not have"):
        Held(torch.ones(3)).cumsum(0)
    found = drive(policy.engine(), requests)
    assert {key: done.ids for key, done in found.items()} == {key: done.ids for key, done in expected.items()}
    policy.prepare(OptimizerSpec())
    policy.snapshot_reference()
    for preset in sorted(PRESETS):
        policy.forward_backward(ragged_groups(100), make_objective(preset=preset))
    policy.optimizer_step(1e-3)


def test_workspaces_that_do_not_repeat_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":0:0")
    make_deterministic(torch.device("cuda"))
    with pytest.raises(BackendError, match=WORKSPACE):
        make_deterministic(torch.device("cuda"), strict=True)
    monkeypatch.delenv(WORKSPACE)
    make_deterministic(torch.device("cuda"), strict=True)
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
