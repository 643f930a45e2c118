"""The other contract suites on a pretend device: checkpoints and exports, memory, windows, recurrence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import test_torch_checkpoints
from hybrid_students import write
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from pretend_device import Pretending, load_there, pretend
from torch_students import SHAPE, Float64Twin, write_student
from transformers import Gemma3TextConfig

from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.checkpoints import LoadPolicy
from mentor_kit.testing.material import Oracle
from mentor_kit.testing.memory import MemoryContract
from mentor_kit.testing.training import GradientContract, TrajectoryContract

__all__ = ["pretend"]
pytestmark = [pytest.mark.slow, pytest.mark.long]

Factory = Callable[[int | None], Policy]


class TestCheckpointsOnADevice(test_torch_checkpoints.TestTorchCheckpoints):
    """Saved, restored and exported from there, read by transformers on the CPU."""

    @pytest.fixture
    def load_policy(self, pretend: Pretending) -> LoadPolicy:
        return load_there


class TestMemoryOnADevice(MemoryContract):
    @pytest.fixture
    def backend(self, pretend: Pretending) -> Backend:
        return TorchBackend(TorchOptions(device="cuda", dtype="float32", threads=1, slots=8))

    @pytest.fixture
    def student(self, folder: Path) -> StudentSpec:
        return StudentSpec(str(folder))


class TestLimitOnADevice(BackendContract, GradientContract):
    """Little memory: sequences wait, layers are computed again, logits in small chunks."""

    draws = 200

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Factory:
        return lambda budget: load_there(folder, token_budget=budget or 16384, memory=0.004)


class TestWindowsOnADevice(BackendContract, GradientContract):
    """Sliding windows beside full attention (Gemma 3)."""

    draws = 200

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        layers = {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
        return write_student(tmp_path_factory.mktemp("windows"), Gemma3TextConfig(**(SHAPE | layers)))

    @pytest.fixture(scope="class")
    def oracle(self, folder: Path) -> Oracle:
        return Float64Twin(folder)

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Factory:
        return lambda budget: load_there(folder, token_budget=budget or 16384)


class TestRecurrenceOnADevice(GradientContract):
    """Convolutions with a state beside attention (LFM2)."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        write("lfm2", found := tmp_path_factory.mktemp("lfm2"))
        return found

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Factory:
        return lambda budget: load_there(folder, token_budget=budget or 16384)


class TestAdapterRecomputedOnADevice(GradientContract):
    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Factory:
        adapter = AdapterSpec(rank=4, alpha=8.0)
        return lambda budget: load_there(folder, adapter, token_budget=budget or 16384, gradient_checkpointing=True)


class TestTrajectoriesRecomputedOnADevice(TrajectoryContract):
    """AdamW, Muon and a KL to the start over twenty steps, layers computed again."""

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Factory:
        return lambda budget: load_there(folder, token_budget=budget or 16384, gradient_checkpointing=True)
