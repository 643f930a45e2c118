"""The advantage estimator against the contract suite, with a loop written from the paper's formula."""

from __future__ import annotations

import pytest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext, default_registry
from mentor_kit.rl.advantages.estimator import AdvantageEstimator
from mentor_kit.testing.advantages import AdvantageContract, AdvantageTwin, Groups

REGISTRY = default_registry()


def optimal_baseline_loop(groups: Groups) -> list[list[float]]:
    found = []
    for rewards, lengths in zip(groups.rewards, groups.lengths, strict=True):
        weights = [max(length, 1) for length in lengths]
        baseline = sum(w * r for w, r in zip(weights, rewards, strict=True)) / sum(weights)
        found.append([reward - baseline for reward in rewards])
    return found


class TestOptimalBaseline(AdvantageContract):
    @pytest.fixture
    def estimator(self) -> AdvantageEstimator:
        return REGISTRY.build("advantages", ComponentSpec(use="optimal_baseline"), BuildContext(REGISTRY))

    @pytest.fixture
    def twin(self) -> AdvantageTwin:
        return optimal_baseline_loop
