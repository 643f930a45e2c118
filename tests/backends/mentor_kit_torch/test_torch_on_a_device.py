"""The backend's contract on a device that is not the CPU, which a pretend one stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from mentor_kit_torch.policy import TorchPolicy
from pretend_device import DEVICE, Held, Pretending, device_is_there, load_there, pretend
from torch_students import SHAPE, load, write_student

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.material import drive, flat, ragged_groups, request
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.sampling import SamplingContract
from mentor_kit.testing.training import GradientContract, TrajectoryContract

__all__ = ["pretend"]
HEAD = {"head_dim": 8}
WINDOW = HEAD | {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}


@pytest.mark.slow
class TestFullOnADevice(BackendContract, GradientContract, TrajectoryContract):
    draws = 600

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Callable[[int | None], Policy]:
        return lambda budget: load_there(folder, token_budget=budget or 16384)


@pytest.mark.slow
class TestAdapterOnADevice(BackendContract, GradientContract):
    draws = 600

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Callable[[int | None], Policy]:
        return lambda budget: load_there(folder, AdapterSpec(rank=4, alpha=8.0), token_budget=budget or 16384)


@pytest.mark.slow
class TestRecomputedOnADevice(GradientContract):
    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Callable[[int | None], Policy]:
        return lambda budget: load_there(folder, token_budget=budget or 16384, gradient_checkpointing=True)


@pytest.mark.slow
class TestFewSlotsOnADevice(SamplingContract):
    draws = 400

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Callable[[int | None], Policy]:
        return lambda budget: load_there(folder, token_budget=budget or 64, slots=3, prefill_chunk=4)


def test_operations_on_two_devices_are_refused(pretend: Pretending) -> None:
    """As CUDA refuses them, or the tests below would prove nothing."""
    there, here = Held(torch.ones(2)), torch.ones(2)
    with pytest.raises(RuntimeError, match="same device"):
        there + here
    assert (there + here.sum()).device == DEVICE
    assert (there + here.to(DEVICE)).cpu().tolist() == [2.0, 2.0]


def test_copies_and_waits_are_counted(pretend: Pretending) -> None:
    with pretend.counted() as counts:
        there = torch.ones(2).to(DEVICE)
        doubled = (there * 2).view(2, 1)
        assert doubled.sum().item() == 4.0
        doubled.cpu()
    assert (counts.to_device, counts.from_device, sum(counts.waits.values())) == (1, 1, 1)
    assert counts.kernels == 3  # the copy, the product and the sum


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", HEAD),
    "gemma3": ("Gemma3TextConfig", WINDOW),
    "olmo2": ("Olmo2Config", {}),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}),
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few slots": {"slots": 2, "prefill_chunk": 4, "token_budget": 32},
    "memory": {"kv_memory": 5e-5},
    "recomputed": {"gradient_checkpointing": True},
}
CASES = [
    *((kind, "plain", adapted) for kind in KINDS for adapted in (False, True)),
    *(("llama", way, False) for way in WAYS if way != "plain"),
]


def trace(policy: TorchPolicy) -> tuple[list[Any], list[float]]:
    """Greedy and sampled tokens before and after two updates, and every number on the way."""
    requests = [
        request(f"{n}.{t}", [1, 2, 3 + n], temperature=t, max_new_tokens=7) for n in range(3) for t in (0.0, 0.8)
    ]
    tokens, numbers = [], []
    policy.prepare(OptimizerSpec(eps=1e-4))  # so that noise in tiny gradients is not blown up to whole steps
    policy.snapshot_reference()
    for _ in range(2):
        done = drive(policy.engine(), requests)
        tokens.append({name: found.ids for name, found in done.items()})
        numbers += [value for found in done.values() for value in found.log_probs]
        numbers.append(policy.forward_backward(ragged_groups(100), make_objective(kl=0.1, entropy=0.01)).loss)
        numbers.append(policy.optimizer_step(1e-3).gradient_norm)
        for name in list(done):
            policy.engine().release(name)
    numbers += flat(policy.log_probs(ragged_groups(100))).tolist()
    return tokens, numbers


@pytest.mark.spread(6)
@pytest.mark.parametrize(("kind", "way", "adapted"), CASES)
def test_a_device_gives_what_the_cpu_gives(kind: str, way: str, adapted: bool, tmp_path: Path) -> None:
    name, changes = KINDS[kind]
    folder = write_student(tmp_path, getattr(transformers, name)(**(SHAPE | changes)))
    adapter = AdapterSpec(rank=4) if adapted else None
    expected_tokens, expected_numbers = trace(load(folder, adapter, **WAYS[way]))
    with device_is_there():
        tokens, numbers = trace(load_there(folder, adapter, **WAYS[way]))
    assert tokens == expected_tokens
    np.testing.assert_allclose(numbers, expected_numbers, atol=2e-5, rtol=2e-4)
