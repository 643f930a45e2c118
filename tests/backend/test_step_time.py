"""The expected time of a step, by hand."""

from __future__ import annotations

import pytest

from mentor_kit.backend.gpu_models import GPU_MODELS, GpuModel, gpu_model
from mentor_kit.backend.memory import GIB
from mentor_kit.backend.step_time import PASS_OVERHEAD, StepWork, step_time
from mentor_kit.core.errors import UsageError

GPU = GpuModel("a GPU", 24, flops=1e14, bandwidth=1e12, link=1e10)
WORK = StepWork(
    parameters=10**9, trained=10**9, weights=2 * 10**9, position=10**5, sequences=100, rows=40, prompt=1000,
    response=2000, problems=10, exchanged=2 * 10**9,
)  # fmt: skip


def test_a_step_is_passes_and_products_and_exchange() -> None:
    found = step_time(WORK, GPU)
    # three waves of 2,000 passes, each of which reads weights and 40 sequences of 2,000 tokens on average
    a_pass = (2e9 + 40 * 2000 * 1e5) / 0.9e12 + PASS_OVERHEAD
    prefill = 2e9 * 10_000 / 0.4e14
    assert found.sampling == pytest.approx(6000 * a_pass + prefill)
    # 210,000 tokens, six operations a parameter
    assert found.update == pytest.approx(210_000 * 6e9 / 0.4e14)
    assert found.exchange == pytest.approx(0.2)
    assert found.total == pytest.approx(found.sampling + found.update + 0.2)


def test_gpus_are_found_by_their_names() -> None:
    assert gpu_model("RTX 4090") is GPU_MODELS["rtx-4090"]
    assert gpu_model("h100").memory.bytes == 80 * GIB
    with pytest.raises(UsageError, match="h100"):
        gpu_model("h10")
