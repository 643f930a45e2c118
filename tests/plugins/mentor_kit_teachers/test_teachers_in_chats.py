"""Teachers as agents of dialogues with a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from chat_servers import ChatServer
from doubling import Doubling, context, teacher

from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest
from mentor_kit.core.errors import MentorKitError
from mentor_kit.core.task import TRAIN
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.trajectory import Ending
from mentor_kit.rollout import EpisodeRules, LiveDialogue, run_async

pytestmark = pytest.mark.usefixtures("key")

RETRY = {"first_wait": 0.01, "longest_wait": 0.02, "timeout": 20.0}


def talk(asked: Teacher, folder: Path, work: Callable[[LiveDialogue], Awaitable[Any]]) -> Any:
    """Open the teacher as an agent, and do something in a dialogue with it."""
    given = context(folder)
    (problem,) = Doubling().problems(TRAIN, 0, 1)
    rules = EpisodeRules(Doubling(), given.need_toolbox(), EpisodeLimits())
    request = EpisodeRequest("chat", problem, given.need_toolbox().tools(problem), 0)

    async def whole() -> Any:
        async with asked.open_agent() as agent:
            dialogue = LiveDialogue(agent, request, rules)
            try:
                return await work(dialogue)
            finally:
                await dialogue.close()

    return run_async(whole())


def server_teacher(use: str, folder: Path, server: ChatServer) -> Teacher:
    url = f"{server.url}/v1" if use == "openai" else server.url
    return teacher(use, folder, model="m", url=url, cache="answers.sqlite", retry=RETRY)


@pytest.mark.parametrize("use", ["openai", "anthropic"])
def test_a_server_answers_questions_with_the_real_tools(use: str, server: ChatServer, tmp_path: Path) -> None:
    async def work(dialogue: LiveDialogue) -> None:
        assert (await dialogue.ask("Double 3 twice."))[0] is Ending.ANSWERED
        assert [message.content for message in dialogue.messages if message.role == "tool"] == ["6", "12"]
        before = dialogue.messages
        assert await dialogue.ask("Double 5 twice.") == (Ending.ANSWERED, "")
        assert dialogue.messages[: len(before)] == before
        assert dialogue.back() == "Double 5 twice."
        await dialogue.ask("Double 6 twice.")
        assert [message.content for message in dialogue.messages if message.role == "user"] == [
            "Double 3 twice.",
            "Double 6 twice.",
        ]

    talk(server_teacher(use, tmp_path, server), tmp_path, work)


def test_an_answer_is_never_that_of_an_earlier_question(server: ChatServer, tmp_path: Path) -> None:
    async def work(dialogue: LiveDialogue) -> None:
        for _ in range(2):
            await dialogue.ask("Double 3 twice.")
            dialogue.back()

    talk(server_teacher("openai", tmp_path, server), tmp_path, work)
    assert len(server.bodies) == 6


def test_a_fault_of_the_server_ends_one_answer_alone(server: ChatServer, tmp_path: Path) -> None:
    async def work(dialogue: LiveDialogue) -> Ending:
        for status in (401, 401, 500):
            server.fixed = (status, {}, {"error": {"message": "not now"}})
            with pytest.raises(MentorKitError):
                await dialogue.ask("Double 3 twice.")
        server.fixed = (400, {}, {"error": {"message": "not this"}})
        refused = await dialogue.ask("Double 3 twice.")
        assert refused[0] is Ending.REFUSED
        server.fixed = None
        return (await dialogue.ask("Double 3 twice."))[0]

    assert talk(server_teacher("openai", tmp_path, server), tmp_path, work) is Ending.ANSWERED


def test_who_answers_what(server: ChatServer, tmp_path: Path) -> None:
    local = teacher("local", tmp_path, model="tiny-blank")
    assert all(one.has_agent and one.takes_questions for one in (server_teacher("openai", tmp_path, server), local))
    (tmp_path / "demonstrations.jsonl").write_text('{"problem_id": "d1", "teacher": "x", "tools_used": []}\n')
    assert not teacher("recorded", tmp_path, path="demonstrations.jsonl").has_agent
