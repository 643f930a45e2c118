"""The reward preset: what it pays for whole episodes."""

from __future__ import annotations

import pytest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks import BuildContext, ComponentError
from mentor_kit.recipe.assembly import build_reward


def trajectory(correct, ending=Ending.ANSWERED):
    messages = (user("?"), assistant("4"))
    answer = "4" if ending is Ending.ANSWERED else None
    return Trajectory(
        id="t", problem_id="p", agent="a", messages=messages, ending=ending, answer=answer, correct=correct
    )


@pytest.mark.parametrize(
    ("episode", "pay"),
    [
        (trajectory(True), 0.8 + 0.2),
        (trajectory(False), 0.2 * 0.2),
        (trajectory(False, Ending.MAX_TURNS), 0.0),
    ],
)
def test_what_an_episode_earns(registry, episode, pay):
    reward = build_reward(ComponentSpec(use="weather"), registry, BuildContext(registry))
    shown = Demonstration(problem_id="p", teacher="a person", tools_used=())
    paid = reward(episode, Problem(id="p", question="?", answer="4"), [shown])
    assert paid.total == pytest.approx(pay)


def test_a_weight_below_zero_is_refused(registry):
    with pytest.raises(ComponentError, match="right"):
        registry.check("rewards", ComponentSpec(use="weather", options={"right": -1}))
