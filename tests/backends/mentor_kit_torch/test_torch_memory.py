"""Estimates against what a policy then holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from torch_students import load

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.testing.material import ragged_groups
from mentor_kit.testing.objectives import make_objective


def estimated(folder: Path, adapter: AdapterSpec | None, optimizer: OptimizerSpec, dtype: str) -> MemoryEstimate:
    needed = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=optimizer, reference=True)
    options = TorchOptions(device="cpu", dtype=dtype)  # type: ignore[arg-type]
    return TorchBackend(options).estimate(StudentSpec(str(folder), adapter=adapter), needed)


def size(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@pytest.mark.spread
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use", ["adamw", "muon"])
@pytest.mark.parametrize("kind", ["all", "new", "saved"])
def test_weights_optimizer_and_reference(folder: Path, tmp_path: Path, kind: str, use: Any, dtype: str) -> None:
    spec = {"all": None, "new": AdapterSpec(rank=3), "saved": AdapterSpec(path=tmp_path)}[kind]
    if kind == "saved":
        load(folder, AdapterSpec(rank=5, targets=("q_proj", "up_proj"))).export(tmp_path, format="adapter")
    optimizer = OptimizerSpec(use=use)
    found = estimated(folder, spec, optimizer, dtype).parts
    policy = load(folder, spec, dtype=dtype)
    policy.snapshot_reference()
    policy.prepare(optimizer)
    policy.forward_backward(ragged_groups(100), make_objective(preset="rloo"))
    policy.optimizer_step(1e-3)
    assert policy.optimizer is not None
    state = policy.optimizer.state()
    masters = [tensor for tensor in state["masters"] if tensor is not None]
    assert found["weights"] == size(policy.model.parameters()) + size(masters)
    moments = [
        value
        for each in state["optimizers"]
        for own in each["state"].values()
        for value in own.values()
        if isinstance(value, torch.Tensor) and value.ndim
    ]
    assert found["optimizer"] == size(moments)
    assert found["reference"] == size((policy.reference or {}).values())
