"""The contract of a backend, held by full fine-tuning, by adapters, and with little room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from mlx_students import load

from mentor_kit.backend.policy import Backend, Policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.memory import MemoryContract
from mentor_kit.testing.sampling import SamplingContract
from mentor_kit.testing.training import GradientContract, TrajectoryContract


class TestMLXFullFineTuning(BackendContract, GradientContract, TrajectoryContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 8192)


class TestMLXAdapter(BackendContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, AdapterSpec(rank=4, alpha=8.0), token_budget=budget or 8192)


@pytest.mark.slow
class TestMLXAdapterGradients(GradientContract):
    policy_factory = TestMLXAdapter.policy_factory


class TestMLXFewSlots(SamplingContract):
    """Rows are given up and taken again all the time; prompts are prefilled in small parts."""

    draws = 600

    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 64, slots=3, prefill_chunk=4)


@pytest.mark.slow
class TestMLXFewSlotsWhole(BackendContract):
    """The same, with updates in between."""

    policy_factory = TestMLXFewSlots.policy_factory


class TestMLXRecomputed(GradientContract):
    """With everything that saves memory or time in updates: layers computed again, compiled arithmetic."""

    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 8192, gradient_checkpointing=True, compile=True)


@pytest.mark.slow
class TestMLXRecomputedWhole(BackendContract):
    policy_factory = TestMLXRecomputed.policy_factory


class TestMLXMemory(MemoryContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MLXBackend(MLXOptions(device="cpu", dtype="float32", slots=8))

    @pytest.fixture
    def student(self, folder: Path) -> StudentSpec:
        return StudentSpec(str(folder))
