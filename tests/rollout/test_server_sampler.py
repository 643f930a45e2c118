"""Episodes through a sampler that is no engine: a server over asyncio, which answers out of order."""

from __future__ import annotations

import asyncio

from rollout_fakes import EchoTask, RecordingTools, ToyFormat, encode, episode, problem

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.rollout import PolicyAgent, Sampling, run_async, run_episodes


class Server:
    """Answers the last of the requests that it has first; a `Sampler`."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.answered: list[str] = []
        self._asked: list[tuple[SampleRequest, asyncio.Future[Completion]]] = []

    def open(self, session: str) -> None:
        self.opened.append(session)

    def close(self, session: str) -> None:
        self.closed.append(session)

    async def sample(self, request: SampleRequest) -> Completion:
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._asked.append((request, future))
        asyncio.get_running_loop().call_later(0.001, self._answer)
        return await future

    def cancel(self, request_id: str) -> None:
        raise AssertionError(f"nobody cancels {request_id}")

    def _answer(self) -> None:
        request, future = self._asked.pop()
        turn = int(request.id.rpartition("/")[2])
        ids = (*encode('!say {"word": "hi"}' if turn == 0 else "right"), *ToyFormat.stop_ids)
        self.answered.append(request.id)
        future.set_result(Completion(request.id, ids, (-0.5,) * len(ids), "stop", version=turn + 3))


def say(word: str) -> str:
    """Say a word."""
    return word


def test_a_server_plays_episodes_and_answers_in_any_order() -> None:
    server, names = Server(), ["a", "b", "c"]
    toolbox = Toolbox([RecordingTools(Tool.from_function(say))])
    limits = EpisodeLimits()
    agent = PolicyAgent("student", ToyFormat(), server, Sampling(), limits, 10_000)  # type: ignore[arg-type]
    episodes = [episode(name, toolbox.tools(problem(name))) for name in names]
    played = run_async(run_episodes(agent, episodes, task=EchoTask(), toolbox=toolbox, limits=limits))
    assert [trajectory.id for trajectory in played] == names
    assert all(trajectory.correct and len(trajectory.turns) == 2 for trajectory in played)
    for trajectory in played:
        assert trajectory.tokens is not None
        assert [turn.version for turn in trajectory.tokens.turns] == [3, 4]
    assert server.opened == sorted(server.closed) == names
    assert server.answered[:3] == ["c/0", "b/0", "a/0"]
