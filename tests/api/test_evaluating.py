"""Who is evaluated, as settings of the recipe."""

from __future__ import annotations

import pytest

from mentor_kit.api.evaluating import with_actor


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ["A"]),
        (["seed=1"], ["A", "seed=1"]),
        (["evaluate.actor.with.model=b"], ["A", "evaluate.actor.with.model=b"]),
        # a setting of all of `evaluate` would put the student back in its place
        (["evaluate={on: []}", "seed=1"], ["evaluate={on: []}", "A", "seed=1"]),
        (
            ["evaluate={on: [{split: a}]}", "evaluate.every=1", "evaluate.actor={use: x}", "evaluate.actor.with.k=1"],
            [
                "evaluate={on: [{split: a}]}",
                "evaluate.every=1",
                "evaluate.actor={use: x}",
                "A",
                "evaluate.actor.with.k=1",
            ],
        ),
        (["evaluate.on.0.problems=3"], ["A", "evaluate.on.0.problems=3"]),
    ],
)
def test_the_actor_that_is_asked_for_plays(overrides: list[str], expected: list[str]) -> None:
    actor = ["evaluate.actor.use=openai" if setting == "A" else setting for setting in expected]
    assert with_actor(overrides, "openai") == actor
    assert with_actor(overrides, None) == with_actor(overrides, "teacher") == overrides
