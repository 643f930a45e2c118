"""The reward term: its scores, and its options."""

from __future__ import annotations

import pytest
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks import ComponentError


@pytest.mark.parametrize(("text", "score"), [(r"\boxed{Oslo}", 1.0), ("one two three four", 0.5), ("", 1.0)])
def test_long_answers_score_less(build, text, score):
    term = build("reward_terms", "weather", words=2)
    problem = Problem(id="p", question="?", answer="Oslo")
    messages = (user("?"), assistant(text))
    trajectory = Trajectory(id="t", problem_id="p", agent="a", messages=messages, ending=Ending.ANSWERED)
    assert term.score(trajectory, problem, []) == score


def test_a_wrong_option_is_refused_before_anything_runs(registry):
    with pytest.raises(ComponentError, match=r"did you mean 'words'\?"):
        registry.check("reward_terms", ComponentSpec(use="weather", options={"word": 2}))
