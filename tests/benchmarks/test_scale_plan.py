"""The plan on paper, against numbers worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mentor_kit.backend.memory import MemoryEstimate

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from scale_plan import Machine, Plan, Step

PARTS = {"weights": 80e9, "gradients": 40e9, "optimizer": 80e9, "reference": 20e9, "activations": 5e9}
MACHINE = Machine(flops=1e14, memory=1e12, launch=0.01, inside=1e11, between=1e10)
STEP = Step(problems=4, group=8, prompt=100, sampled=1000, longest=3000)


def plan(way: str, gpus: int) -> Plan:
    estimate = MemoryEstimate(
        parameters=10**10, trainable=10**10, parts={name: int(size) for name, size in PARTS.items()}
    )
    return Plan("8B", way, gpus, estimate, 1000, MACHINE, STEP)


def test_whole_copies() -> None:
    found = plan("full", 4)
    assert found.memory() == pytest.approx(80e9 + 40e9 + 80e9 + 20e9 + 5e9 + 8 * 1100 * 1000)
    assert found.gradient_bytes() == 4 * 10**10
    assert found.sent_bytes() == pytest.approx(6e10)
    assert found.gathered_bytes() == 0
    # 32,400 tokens by 8 flops and 10^10 parameters on 4 times 10^14 flops a second, then 60 GB at 100 GB/s
    assert found.update_seconds() == pytest.approx(6.48 + 0.6)
    # 1,000 passes of 20 GB and 8 rows of 1,100 positions; then 2,000 with 4 rows of 3,000
    assert found.sampling_seconds() == pytest.approx(1000 * (0.02 + 8.8e-6 + 0.01))
    assert found.longest_seconds() == pytest.approx(found.sampling_seconds() + 2000 * (0.02 + 12e-6 + 0.01))
    assert found.step_seconds(0) == pytest.approx(found.longest_seconds() + 7.08)
    assert found.step_seconds(1) == pytest.approx(found.longest_seconds() / 2)
    assert found.step_seconds(9) == pytest.approx(found.sampling_seconds() + 7.08)


def test_sharded_over_two_nodes() -> None:
    found = plan("full, sharded", 16)
    assert found.memory() == pytest.approx(220e9 / 16 + 20e9 + 5e9 + 2 * 1100 * 1000)
    assert found.gathered_bytes() == pytest.approx(75e9)
    # one micro-batch, whose 75 GB at 10 GB/s take longer than its computation (1.6 s)
    assert found.update_seconds() == pytest.approx(7.5)


def test_one_gpu_exchanges_nothing() -> None:
    assert plan("full", 1).sent_bytes() == 0
