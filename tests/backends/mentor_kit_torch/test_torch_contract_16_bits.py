"""The contract of a backend in bfloat16: full fine-tuning, an adapter, and a device that is not the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pretend_device import Pretending, load_there, pretend
from torch_students import load, write_rounded_student

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.precision import SixteenBits
from mentor_kit.testing.training import GradientContract, TrajectoryContract

__all__ = ["pretend"]
pytestmark = pytest.mark.slow
ADAPTER = AdapterSpec(rank=4, alpha=8.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rounded_student(tmp_path_factory.mktemp("student"))


class TestTorchFull16Bits(SixteenBits, BackendContract, GradientContract, TrajectoryContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, dtype="bfloat16", token_budget=budget or 16384)

    @pytest.fixture
    def exact_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder)


class TestTorchAdapter16Bits(SixteenBits, BackendContract, GradientContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, ADAPTER, dtype="bfloat16", token_budget=budget or 16384)

    @pytest.fixture
    def exact_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, ADAPTER)


class TestTorchOnADevice16Bits(SixteenBits, BackendContract, GradientContract, TrajectoryContract):
    draws = 600

    @pytest.fixture
    def policy_factory(self, folder: Path, pretend: Pretending) -> Callable[[int | None], Policy]:
        return lambda budget: load_there(folder, dtype="bfloat16", token_budget=budget or 16384)

    @pytest.fixture
    def exact_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load_there(folder)
