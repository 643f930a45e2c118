"""The backend contract, held by two processes: `STUDENT=folder mlx.launch -n 2 -- python divided_contract.py`.

The first process runs the tests; the other one serves it. `test_mlx_processes.py` launches it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "mentor_kit_torch")]

from float64_trainer import Float64Trainer
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.divided import DividedPolicy
from mentor_kit_mlx.options import MLXOptions
from torch_students import Float64Twin

from mentor_kit.policy import AdapterSpec, Policy, StudentSpec
from mentor_kit.testing.backend import BackendContract, Oracle
from mentor_kit.testing.training import GradientContract, Trainer, TrajectoryContract

FOLDER = Path(os.environ["STUDENT"])


def load(adapter: AdapterSpec | None = None, budget: int | None = None) -> Policy:
    options = MLXOptions(device="cpu", dtype="float32", token_budget=budget or 8192)
    policy = MLXBackend(options).load(StudentSpec(str(FOLDER), adapter=adapter), seed=0)
    assert isinstance(policy, DividedPolicy)
    return policy


@pytest.fixture
def oracle() -> Oracle:
    return Float64Twin(FOLDER)


@pytest.fixture
def trainer() -> Trainer:
    return Float64Trainer(FOLDER)


class TestTwoProcesses(BackendContract, GradientContract, TrajectoryContract):
    @pytest.fixture
    def policy_factory(self) -> Callable[[int | None], Policy]:
        return lambda budget: load(None, budget)


class TestTwoProcessesWithAnAdapter(BackendContract, GradientContract):
    @pytest.fixture
    def policy_factory(self) -> Callable[[int | None], Policy]:
        return lambda budget: load(AdapterSpec(rank=4, alpha=8.0), budget)


if __name__ == "__main__":
    if MLXBackend(MLXOptions(device="cpu")).serve():
        sys.exit(0)
    sys.exit(pytest.main([__file__, "-q", "-p", "no:cacheprovider", "--no-header", *sys.argv[1:]]))
