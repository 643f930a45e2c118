"""Every term that compares or looks at the form, in a reward of its own: no attack pays."""

from __future__ import annotations

import pytest
from attack_worlds import bounds_of, parts

from mentor_kit.audits import search, try_attacks
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.assembly import build_reward
from mentor_kit.rl.reward import Reward, RewardSpec

TERMS = ("tool-match", "tool-overlap", "tool-f1", "tool-multiset-f1", "tool-order", "tool-arguments")
TERMS += ("known-tools", "clean-calls", "call-economy", "format")


def reward(*terms: dict[str, Json], no_answer: float = 0.0) -> Reward:
    gates = [{"use": "ended", "otherwise": 0.0}, {"use": "answered", "otherwise": no_answer}]
    spec = {"gates": gates, "terms": [{"use": "correct", "weight": 0.7}, *terms]}
    return build_reward(RewardSpec.model_validate(spec), default_registry(), parts().context)


def paid(made: Reward) -> set[str]:
    return {earned.attack.name for one in bounds_of(made) for earned in try_attacks(one) if earned.pays}


@pytest.mark.parametrize("term", TERMS)
def test_a_term_beside_the_right_answer(term: str) -> None:
    made = reward({"use": term, "weight": 0.3, "when_wrong": 0.2})
    assert paid(made) == set()
    assert search(bounds_of(made), 100, seed=2).finds == ()


def test_length_that_is_paid_for_right_answers_alone() -> None:
    # honest work of these problems is some fifty tokens long, and whoever pads it earns less
    length = {"use": "length", "with": {"free": 200, "limit": 400}, "weight": 0.3}
    assert paid(reward({**length, "when_wrong": 0.0})) == set()
    (one, *_) = bounds_of(reward({**length, "when_wrong": 0.0}))
    padded = {earned.attack.name: earned for earned in try_attacks(one)}["a hundred thousand words"]
    assert (padded.earned, padded.bound) == pytest.approx((0.7, 1.0))


def test_a_gate_that_pays_silence_is_caught() -> None:
    made = reward({"use": "tool-match", "weight": 0.3, "when_wrong": 0.2}, no_answer=0.1)
    assert paid(made) >= {"silence", "giving up", "answer in the reasoning alone"}
