"""Who is evaluated, as settings of the recipe."""

from __future__ import annotations

import pytest

from mentor_kit.api.evaluating import with_agent


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ["A"]),
        (["seed=1"], ["A", "seed=1"]),
        (["evaluate.agent.with.model=b"], ["A", "evaluate.agent.with.model=b"]),
        # a setting of all of `evaluate` would put the student back in its place
        (["evaluate={on: []}", "seed=1"], ["evaluate={on: []}", "A", "seed=1"]),
        (
            ["evaluate={on: [{split: a}]}", "evaluate.every=1", "evaluate.agent={use: x}", "evaluate.agent.with.k=1"],
            [
                "evaluate={on: [{split: a}]}",
                "evaluate.every=1",
                "evaluate.agent={use: x}",
                "A",
                "evaluate.agent.with.k=1",
            ],
        ),
        (["evaluate.on.0.problems=3"], ["A", "evaluate.on.0.problems=3"]),
    ],
)
def test_the_agent_that_is_asked_for_plays(overrides: list[str], expected: list[str]) -> None:
    agent = ["evaluate.agent.use=openai" if setting == "A" else setting for setting in expected]
    assert with_agent(overrides, "openai") == agent
    assert with_agent(overrides, None) == with_agent(overrides, "teacher") == overrides
