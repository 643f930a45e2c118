"""The contract of a backend, held by students with convolutions, recurrences, and several kinds of state in a layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hybrid_students import write
from mlx_students import load

from mentor_kit.backend.policy import Policy
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.sampling import SamplingContract
from mentor_kit.testing.training import GradientContract

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=["lfm2", "falcon-h1", pytest.param("qwen3.5", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(request.param, found := tmp_path_factory.mktemp(request.param))
    return found


class TestMLXRecurrentFewSlots(SamplingContract):
    """Rows are given up and taken again all the time; prompts are prefilled in small parts."""

    draws = 200

    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 64, slots=3, prefill_chunk=4)


@pytest.mark.slow
class TestMLXRecurrent(BackendContract, GradientContract):
    export_format = "mlx"

    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 8192, gradient_checkpointing=True)
