"""Updates on a device: their copies, waits and kernels, and optimizers that move between a CPU and a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch.device_copy import to_device
from mentor_kit_torch.tree import Tree
from mentor_kit_torch.tree_attention import Span
from mentor_kit_torch.update_inputs import WholeRows
from pretend_device import DEVICE, Held, Pretending, device_is_there, load_there, pretend
from torch_students import load

from mentor_kit.backend.microbatching import micro_batches
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.testing.material import flat, ragged_groups
from mentor_kit.testing.objectives import make_objective

__all__ = ["pretend"]
GROUPS = ragged_groups(100)
#: The most kernels that an update of one micro-batch starts in two layers, and a step. They may only fall.
UPDATE, STEP = 837, 48


@pytest.mark.slow
@pytest.mark.parametrize("budget", [16384, 48])
def test_a_micro_batch_takes_one_copy_and_an_update_one_wait(budget: int, folder: Path) -> None:
    objective = make_objective(kl=0.1, entropy=0.01)
    with device_is_there() as mode:
        policy = load_there(folder, token_budget=budget)
        policy.prepare(OptimizerSpec(clip=0.01))
        policy.snapshot_reference()
        policy.forward_backward(GROUPS, objective)
        policy.optimizer_step(1e-3)
        with mode.counted() as update:
            policy.forward_backward(GROUPS, objective)
        with mode.counted() as step:
            policy.optimizer_step(1e-3)
        with mode.counted() as scores:
            policy.log_probs(GROUPS)
    count = len(list(micro_batches(GROUPS, budget, objective, packed=True)))
    assert (count > 1) == (budget == 48)
    assert (update.to_device, update.from_device, update.waits.total()) == (count, 1, 0)
    assert (step.to_device, step.from_device, step.waits.total()) == (0, 0, 1)  # of the gradient's norm
    assert (scores.to_device, scores.from_device, scores.waits.total()) == (count, count, 0)
    assert count > 1 or update.kernels <= UPDATE, update.kernels
    assert step.kernels <= STEP, step.kernels


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use", ["adamw", "muon"])
@pytest.mark.slow
def test_a_checkpoint_goes_on_where_the_optimizer_is_fused_and_back(
    use: Any, dtype: str, folder: Path, tmp_path: Path
) -> None:
    """Steps on the device count there; those of a CPU's checkpoint are moved, and the other way round."""

    def update(policy: Any) -> float:
        policy.forward_backward(GROUPS, make_objective(kl=0.0))
        return float(policy.optimizer_step(1e-3).gradient_norm)

    here = load(folder, dtype=dtype)
    here.prepare(OptimizerSpec(use=use, eps=1e-4))
    update(here)
    here.save(tmp_path / "1")
    expected = [update(here), update(here)]
    with device_is_there():
        there = load_there(folder, dtype=dtype)
        there.restore(tmp_path / "1")
        found = [update(there)]
        there.save(tmp_path / "2")
    again = load(folder, dtype=dtype)
    again.restore(tmp_path / "2")
    found.append(update(again))
    # Muon orthogonalises in 16 bits on a device, and in 32 on a CPU
    tolerance = {("adamw", "float32"): 1e-4, ("muon", "float32"): 1e-2}.get((use, dtype), 0.1)
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    values = [flat(policy.log_probs(GROUPS)) for policy in (again, here)]
    np.testing.assert_allclose(*values, atol=tolerance)


def test_every_tensor_of_a_value_arrives_as_it_was(pretend: Pretending) -> None:
    (batch,) = micro_batches(GROUPS, 1 << 20)
    tree = Tree.of(batch)
    odd: dict[str, Any] = {
        "bytes": torch.arange(3, dtype=torch.uint8),
        "empty": (torch.zeros(0, 4), WholeRows.of(batch)),
        "flipped": torch.arange(6.0, dtype=torch.float64).view(2, 3).t(),
        "kept": [None, "name", Span(slice(1, 2), slice(3, 4)), torch.tensor(7)],
    }
    with pretend.counted() as counts:
        moved, moved_tree = to_device((odd, tree), DEVICE)
    assert counts.to_device == 1
    assert moved["kept"][:3] == odd["kept"][:3]
    pairs = [
        (moved["bytes"], odd["bytes"]),
        (moved["empty"][0], odd["empty"][0]),
        (moved["empty"][1].ids, odd["empty"][1].ids),
        (moved["flipped"], odd["flipped"]),
        (moved["kept"][3], odd["kept"][3]),
        (moved_tree.ids, tree.ids),
        *((there.padding, here.padding) for there, here in zip(moved_tree.layout.rows, tree.layout.rows, strict=True)),
    ]
    for there, here in pairs:
        assert isinstance(there, Held)
        assert (there.dtype, there.shape) == (here.dtype, here.shape)
        assert torch.equal(there.cpu(), here)
    assert to_device(tree, torch.device("cpu")) is tree
