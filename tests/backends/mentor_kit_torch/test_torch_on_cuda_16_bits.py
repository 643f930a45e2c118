"""A backend's contract on a GPU in bfloat16, graphs on and off, and with an adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mentor_kit_torch.policy import TorchPolicy
from torch_students import SHAPE, load, write_rounded_student
from transformers import LlamaConfig

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.precision import SixteenBits
from mentor_kit.testing.training import GradientContract, TrajectoryContract

pytestmark = pytest.mark.cuda

DEVICE = "cuda"
ADAPTER = AdapterSpec(rank=4, alpha=8.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with heads of a width that every way of attention has kernels for."""
    config = LlamaConfig(**SHAPE, head_dim=16, tie_word_embeddings=True)
    return write_rounded_student(tmp_path_factory.mktemp("student"), config)


def load_on_gpu(folder: Path, adapter: AdapterSpec | None = None, **options: Any) -> TorchPolicy:
    """A policy on the GPU, in bfloat16 unless options say otherwise."""
    return load(folder, adapter, **({"device": DEVICE, "dtype": "bfloat16"} | options))


class OnCuda(SixteenBits):
    """Wider heads with weights as large round more."""

    rounding = 0.3
    gradient_rounding = 0.15


class TestFull16BitsOnCuda(OnCuda, BackendContract, GradientContract, TrajectoryContract):
    @pytest.fixture(params=[False, True], ids=["plain", "graphs"])
    def policy_factory(self, folder: Path, request: pytest.FixtureRequest) -> Callable[[int | None], Policy]:
        return lambda budget: load_on_gpu(folder, token_budget=budget or 16384, cuda_graphs=request.param)

    @pytest.fixture
    def exact_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load_on_gpu(folder, dtype="float32")


class TestAdapter16BitsOnCuda(OnCuda, BackendContract, GradientContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load_on_gpu(folder, ADAPTER, token_budget=budget or 16384)

    @pytest.fixture
    def exact_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load_on_gpu(folder, ADAPTER, dtype="float32")


class TestAttention16BitsOnCuda(OnCuda, GradientContract):
    """The ways of attention in 16 bits; FlashAttention for GPUs that have it."""

    @pytest.fixture(params=["flex", "flash", "efficient", "plain"])
    def policy_factory(self, folder: Path, request: pytest.FixtureRequest) -> Callable[[int | None], Policy]:
        if request.param == "flash" and torch.cuda.get_device_capability() < (8, 0):
            pytest.skip("FlashAttention is for GPUs of compute capability 8.0 and higher")
        return lambda budget: load_on_gpu(folder, token_budget=budget or 16384, attention_kernels=request.param)

    exact_factory = TestFull16BitsOnCuda.exact_factory
