"""Teachers in the student's place: every episode that is asked for is played, and all of it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_servers import KEY, ChatServer, serving
from doubling import Doubling, next_step, teacher

from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.task import TRAIN, Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.rollout import run_async


def problems(count: int) -> list[Problem]:
    return list(Doubling().problems(TRAIN, 0, count))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def openai(folder: Path, server: ChatServer, **options: Any) -> Any:
    found = teacher("openai", folder, model="m", url=f"{server.url}/v1", cache="answers.sqlite", **options)
    assert isinstance(found, Teacher)
    assert found.has_rollouts
    return found


def every_other(question: str, results: list[str], times: int) -> tuple[str, dict[str, int] | None]:
    """Right, but for the second time that it is asked the same."""
    said, call = next_step(question, results)
    return (r"\boxed{-1}", None) if times == 1 and not results else (said, call)


def test_right_and_wrong_episodes_are_all_there(tmp_path: Path) -> None:
    server = ChatServer(every_other)
    with serving(server):
        asked = openai(tmp_path, server, concurrency=1)
        played = run_async(asked.rollouts(problems(2), 3))
        assert [t.problem_id for t in played] == ["d1", "d1", "d1", "d2", "d2", "d2"]
        assert [sum(t.correct for t in played[:3]), sum(t.correct for t in played[3:])] == [2, 2]
        # evaluated again, with more episodes: what was asked before is not asked again
        before = len(server.dialogues)
        again = run_async(openai(tmp_path, server).rollouts(problems(2), 4))
        assert [t.messages for t in again[:3]] == [t.messages for t in played[:3]]
        assert len(server.dialogues) - before < before
    assert asked.account()["requests"] == before


def test_a_server_that_fails_ends_the_evaluation(tmp_path: Path) -> None:
    server = ChatServer()
    server.fixed = (401, {}, {"error": {"message": "no such key", "type": "invalid_request_error"}})
    with serving(server), pytest.raises(MentorKitError, match="the teacher's server refuses"):
        run_async(openai(tmp_path, server).rollouts(problems(3), 2))


def test_a_local_model(tmp_path: Path) -> None:
    limits = EpisodeLimits(max_turns=1, max_turn_tokens=4, max_response_tokens=20)
    made = teacher("local", tmp_path, limits=limits, model="tiny-blank", temperature=1.0)
    played = run_async(made.rollouts(problems(2), 2))
    assert [t.problem_id for t in played] == ["d1", "d1", "d2", "d2"]
    assert len({t.id for t in played}) == 4
