"""Episodes that overlap with updates, sampled by a server: every turn has a version, none is too old."""

from __future__ import annotations

from pathlib import Path

import mentor_kit_vllm
import pytest
from mentor_kit_tiny.components import TINY
from stand_in import StandIn

from mentor_kit import api
from mentor_kit.hooks.loader import default_registry


@pytest.mark.slow
def test_a_run_whose_episodes_overlap(tmp_path: Path) -> None:
    registry = default_registry()
    if not registry.plugins.manager.is_registered(mentor_kit_vllm):
        registry.plugins.manager.register(mentor_kit_vllm, name="vllm")
    server = StandIn(TINY, context=512)
    try:
        run = api.run(
            "quickstart",
            overrides={
                "rollout.staleness": 1,
                "train.0.steps": 3,
                "train.0.problems": 3,
                "train.0.group": 3,
                "train.0.minibatches": 1,
                "train.0.optimizer.lr": 1e-6,
                "evaluate.on": [],
                "evaluate.at_start": False,
                "report": False,
                "backend.threads": 1,
                "sampler": {"use": "vllm", "with": {"servers": [server.url]}},
            },
            output=tmp_path,
            registry=registry,
        )
    finally:
        server.stop()
    assert len(server.pushes) >= 2  # the last step is sampled with the first update's weights or later ones
    assert [step["staleness_max"] <= 1 for step in run.steps] == [True] * 3
    # with so low a rate the weights hardly change, so that stale log-probabilities are nearly those of now
    assert max(step["mismatch_max"] for step in run.steps) < 1e-2
