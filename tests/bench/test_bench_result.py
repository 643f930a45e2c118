"""Estimates and shares of a measured recipe, by hand."""

from __future__ import annotations

import json

import pytest

from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.backend.policy import PolicyInfo
from mentor_kit.benchmark import Bench, StageBench
from mentor_kit.benchmark.arithmetic import evaluation_episodes, evaluation_seconds, limit_share, time_split
from mentor_kit.stages import EvaluationPlan, SplitPlan

INFO = PolicyInfo(
    model="toy", parameters=1000, trainable=10, vocabulary=9, context=99, device="cpu", dtype="float32", backend="fake"
)
STAGE = StageBench(
    key="0-grpo",
    measured=3,
    steps=100,
    seconds=4.0,
    split={"prefill": 0.5, "decode": 1.5, "tools": 0.25, "reward": 0.0, "teacher": 0.25, "update": 1.0, "idle": 0.5},
    sampled=600,
    trained=500,
    episodes=11,
    limit={"decode": 0.5},
)


def test_rates_and_totals() -> None:
    assert STAGE.total == 400
    assert STAGE.sampled_per_second == 300  # 600 tokens in 2 seconds of prefill and decode
    assert STAGE.trained_per_second == 500
    # an episode costs what the step takes without update and teacher: 2.75 s for 11
    assert evaluation_seconds([STAGE], 40) == pytest.approx(10)
    assert evaluation_seconds([], 40) is None
    found = Bench(name="r", policy=INFO, stages=(STAGE,), evaluations=40, evaluation_seconds=10.0)
    assert found.total == 410
    data = json.loads(json.dumps(found.as_data()))
    assert data["total_seconds"] == 410
    assert data["stages"][0]["sampled_per_second"] == 300
    text = found.text()
    assert "4 s a step, 100 steps, about 7 minutes" in text
    assert "    decode      1.500 s   38%, 50% of the machine's limit\n" in text
    assert text.endswith("estimate    about 7 minutes for the whole recipe")


def test_the_split_adds_up() -> None:
    spent = {"sample": 2.0, "update": 1.0, "tools": 0.5, "reward": 0.0, "teacher": 0.0}
    found = time_split(4.0, spent, {"prefill": 0.5, "decode": 1.25, "update": 0.9})
    assert found == {
        **{"prefill": 0.5, "decode": 1.25, "sample": 0.25},
        **{"update": 1.0, "tools": 0.5, "reward": 0.0, "teacher": 0.0, "idle": 0.5},
    }
    assert time_split(4.0, spent, {})["sample"] == 2.0


def test_the_limit_is_that_of_products_or_of_bytes() -> None:
    limits = MachineLimits(flops=100.0, bandwidth=10.0)
    assert limit_share(Work(seconds=4.0, flops=200.0, bytes=1.0), limits) == 0.5
    assert limit_share(Work(seconds=4.0, flops=1.0, bytes=30.0), limits) == 0.75


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (EvaluationPlan(on=(SplitPlan(split="a", problems=10), SplitPlan(split="b", problems=5, samples=3))), 40 * 3),
        (EvaluationPlan(on=(SplitPlan(split="a", problems=10),), every=2, at_start=False), 20 * (2 + 3)),
        (EvaluationPlan(on=(SplitPlan(split="a", problems=10),), at_start=False, at_end=False), 0),
        (EvaluationPlan(), 0),
    ],
)
def test_episodes_of_evaluations(plan: EvaluationPlan, expected: int) -> None:
    # stages of 4 and 6 steps: one evaluation at the start, one at the end of each
    assert evaluation_episodes(plan, [4, 6]) == expected
