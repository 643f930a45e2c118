"""The contract of a backend, held by full fine-tuning and by an adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from torch_students import load

from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.memory import MemoryContract
from mentor_kit.testing.sampling import SamplingContract
from mentor_kit.testing.training import GradientContract, TrajectoryContract


class TestTorchFullFineTuning(BackendContract, GradientContract, TrajectoryContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 16384)


class TestTorchAdapter(BackendContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, AdapterSpec(rank=4, alpha=8.0), token_budget=budget or 16384)


@pytest.mark.slow
class TestTorchAdapterGradients(GradientContract):
    policy_factory = TestTorchAdapter.policy_factory


class TestTorchFewSlots(SamplingContract):
    """Rows are given up and taken again all the time; prompts are prefilled in small parts."""

    draws = 600

    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 64, slots=3, prefill_chunk=4)


@pytest.mark.slow
class TestTorchFewSlotsWhole(BackendContract):
    """The same, with updates in between."""

    policy_factory = TestTorchFewSlots.policy_factory


class TestTorchMemory(MemoryContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return TorchBackend(TorchOptions(device="cpu", dtype="float32", threads=1, slots=8))

    @pytest.fixture
    def student(self, folder: Path) -> StudentSpec:
        return StudentSpec(str(folder))
