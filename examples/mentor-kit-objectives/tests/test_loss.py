"""The loss against the contract suite, with a loop written from the paper's formula."""

from __future__ import annotations

import math

import pytest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext, ComponentError, default_registry
from mentor_kit.rl.losses.loss import Loss
from mentor_kit.testing.losses import LossCase, LossContract, LossTwin, Ragged

REGISTRY = default_registry()


def sapo_loop(case: LossCase) -> Ragged:
    found: Ragged = [[0.0] * len(row) for row in case.now]
    for i, row in enumerate(case.now):
        for t, log_prob in enumerate(row):
            advantage = case.advantages[i][t]
            tau = 1.0 if advantage > 0 else 1.3
            ratio = math.exp(log_prob - case.old[i][t])
            found[i][t] = -4 / tau / (1 + math.exp(-tau * (ratio - 1))) * advantage
    return found


class TestSAPO(LossContract):
    @pytest.fixture
    def loss(self) -> Loss:
        spec = ComponentSpec(use="sapo", options={"tau_negative": 1.3})
        return REGISTRY.build("losses", spec, BuildContext(REGISTRY))

    @pytest.fixture
    def twin(self) -> LossTwin:
        return sapo_loop


def test_a_wrong_option_is_refused_before_anything_runs():
    with pytest.raises(ComponentError, match=r"did you mean 'tau_negative'\?"):
        REGISTRY.check("losses", ComponentSpec(use="sapo", options={"tau_negatve": 1.3}))
