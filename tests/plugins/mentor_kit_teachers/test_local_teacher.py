"""The teacher `local`, with a randomly initialised model on the real backend."""

from __future__ import annotations

import pytest
from doubling import shown, teacher

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.errors import MissingError

LIMITS = EpisodeLimits(max_turns=2, max_turn_tokens=12, max_response_tokens=40)


def test_a_model_on_a_backend_plays_like_a_student(tmp_path):
    def made():
        return teacher(
            "local", tmp_path, limits=LIMITS, model="tiny-blank", attempts=2, when_none="show", temperature=1.0
        )

    asked = made()
    found = shown(asked, 2)
    assert [(d.problem_id, d.provenance["attempt"]) for d in found] == [("d1", 0), ("d1", 1), ("d2", 0), ("d2", 1)]
    assert all(d.teacher == "local" and d.trajectory is not None and d.trajectory.tokens is None for d in found)
    words = [[m.content for m in d.trajectory.turns] for d in found if d.trajectory]
    assert words[0] != words[1]  # attempts differ
    assert asked.account() == {"attempts": 4, "right_attempts": 0, "unsolved": 2}
    assert shown(made(), 2) == found


def test_a_model_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"teacher\.model: .*'tiny-blnk'.*did you mean 'tiny-blank'"):
        shown(teacher("local", tmp_path, model="tiny-blnk"), 1)
