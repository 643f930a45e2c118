"""Estimates against what a policy then holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from torch_students import SHAPE, load, write_student
from transformers import LlamaConfig

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
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


def kept(policy: Any, tokens: int) -> int:
    """Bytes that an update of so many tokens keeps for its backward pass, beside the weights."""
    weights = {parameter.data_ptr() for parameter in policy.model.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []  # so that no memory is used twice
    ids = np.arange(tokens, dtype=np.int64) % 90
    completion = TokenCompletion(ids, np.ones(tokens), np.zeros(tokens), 1.0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy.forward_backward([TokenGroup(ids[:4], (completion,))], make_objective(preset="rloo"))
    return sum(found.values())


@pytest.mark.parametrize("adapter", [None, AdapterSpec(rank=4)], ids=["full", "adapter"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_an_update_keeps_is_estimated(adapter: AdapterSpec | None, dtype: Any, tmp_path: Path) -> None:
    shape = SHAPE | {"hidden_size": 64, "intermediate_size": 192, "max_position_embeddings": 1024}
    folder = write_student(tmp_path, LlamaConfig(**shape))
    policy = load(folder, adapter, dtype=dtype, gradient_checkpointing=False)
    policy.prepare(OptimizerSpec())
    measured = kept(policy, 600) - kept(policy, 200)
    backend = TorchBackend(TorchOptions(device="cpu", dtype=dtype, gradient_checkpointing=False))
    few, many = (
        backend.estimate(StudentSpec(str(folder), adapter=adapter), MemoryLoad(1, 64, tokens)).parts["activations"]
        for tokens in (200, 600)
    )
    # with the logits, which are counted apart
    assert 0.9 * measured < many - few < 1.3 * measured


@pytest.mark.parametrize(
    ("device", "place"),
    [("cpu", "main memory"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")],
)
def test_the_memory_that_a_device_has(device: str, place: str) -> None:
    assert TorchBackend(TorchOptions(device=device)).place() == place


def test_auto_is_left_open_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TorchBackend(TorchOptions(device="auto"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backend.place() == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert backend.place() == "cuda:0"
