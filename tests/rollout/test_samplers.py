from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_fakes import EchoTask, RecordingTools, ScriptedEngine, ToyFormat, episode, problem

from mentor_kit.backend.engine_sampler import EngineSampler
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.errors import BackendError
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rollout import PolicyAgent, Sampling, run_async, run_episodes


def request(name: str, turn: int = 0, limit: int = 10) -> SampleRequest:
    return SampleRequest(
        id=f"{name}/{turn}", session=name, context=(1,), temperature=1.0, max_new_tokens=limit,
        stop_ids=ToyFormat.stop_ids, seed=0,
    )  # fmt: skip


def waiting_tools(delays: dict[str, list[int]]) -> RecordingTools:
    """A tool `wait` that gives way to the others as often as the episode's delays say, call by call."""
    left = {name: list(found) for name, found in delays.items()}

    async def wait(name: str) -> str:
        """Wait."""
        for _ in range(left[name].pop(0)):
            await asyncio.sleep(0)
        return "done"

    return RecordingTools(Tool.from_function(wait))


def call_for(lengths: dict[str, int]) -> Any:
    """Every episode calls `wait` in all turns but its last."""

    def say(made: SampleRequest) -> str:
        turn = int(made.id.rpartition("/")[2])
        if turn + 1 < lengths[made.session]:
            return f'!wait {{"name": "{made.session}"}}'
        return "right"

    return say


def play_all(
    engine: ScriptedEngine, delays: dict[str, list[int]], *, deterministic: bool = True, **changes: Any
) -> list[Trajectory]:
    toolbox = Toolbox([waiting_tools(delays)])
    agent = PolicyAgent(
        name="student",
        format=ToyFormat(),  # type: ignore[arg-type]
        sampler=EngineSampler(engine, deterministic=deterministic),
        sampling=Sampling(),
        limits=EpisodeLimits(max_turns=6),
        context=10_000,
    )
    episodes = [episode(name, toolbox.tools(problem(name))) for name in delays]
    task = changes.get("task") or EchoTask()
    return run_async(run_episodes(agent, episodes, task=task, toolbox=toolbox, limits=agent.limits))


DELAYS = st.lists(st.lists(st.integers(0, 5), min_size=0, max_size=4), min_size=1, max_size=5)


@given(DELAYS)
def test_barriers_form_the_same_batches_whatever_tools_take(drawn: list[list[int]]) -> None:
    delays = {f"e{index}": found for index, found in enumerate(drawn)}
    lengths = {name: len(found) + 1 for name, found in delays.items()}
    engine = ScriptedEngine(call_for(lengths))
    played = play_all(engine, delays)
    # batch k has the k-th turn of every episode that long, in the order of the episodes
    expected = [
        tuple(f"{name}/{turn}" for name in delays if lengths[name] > turn) for turn in range(max(lengths.values()))
    ]
    assert engine.batches == expected
    assert [len(t.turns) for t in played] == list(lengths.values())
    assert all(t.correct for t in played)
    assert sorted(engine.released) == sorted(delays)


@settings(max_examples=30, deadline=None)
@given(DELAYS)
def test_overlapped_sampling_gives_the_same_episodes(drawn: list[list[int]]) -> None:
    delays = {f"e{index}": found for index, found in enumerate(drawn)}
    lengths = {name: len(found) + 1 for name, found in delays.items()}
    apart = play_all(ScriptedEngine(call_for(lengths)), delays)
    engine = ScriptedEngine(call_for(lengths))
    assert play_all(engine, delays, deterministic=False) == apart
    assert not engine.busy
    assert sorted(engine.released) == sorted(delays)


def test_slow_tools_overlap_with_sampling_only_where_that_is_asked_for() -> None:
    delays = {"quick": [0, 0, 0], "slow": [200]}
    lengths = {"quick": 4, "slow": 2}
    engine = ScriptedEngine(call_for(lengths))
    play_all(engine, delays, deterministic=False)
    first_of_slow = next(i for i, batch in enumerate(engine.batches) if "slow/1" in batch)
    last_of_quick = next(i for i, batch in enumerate(engine.batches) if "quick/3" in batch)
    assert last_of_quick < first_of_slow


@pytest.mark.parametrize("deterministic", [True, False])
def test_an_engines_error_ends_the_play(deterministic: bool) -> None:
    engine = ScriptedEngine(lambda made: "right")
    engine.fail_step = BackendError("out of memory")
    with pytest.raises(BackendError, match="out of memory"):
        play_all(engine, {"a": [], "b": []}, deterministic=deterministic)
    assert sorted(engine.released) == ["a", "b"]


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("refused", ["a", "b", "c"])
def test_a_refused_request_ends_the_play(deterministic: bool, refused: str) -> None:
    engine = ScriptedEngine(lambda made: "right")
    engine.refuse = lambda made: BackendError("too long") if made.session == refused else None
    with pytest.raises(BackendError, match="too long"):
        play_all(engine, {"a": [], "b": [], "c": []}, deterministic=deterministic)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("where", ["submit", "step"])
def test_an_engines_error_reaches_every_request_that_waits(deterministic: bool, where: str) -> None:
    engine = ScriptedEngine(lambda made: "right")

    async def all_of(names: str) -> list[Any]:
        sampler = EngineSampler(engine, deterministic=deterministic)
        for name in names:
            sampler.open(name)
        return await asyncio.gather(*(sampler.sample(request(name)) for name in names), return_exceptions=True)

    if where == "submit":
        engine.refuse = lambda made: BackendError("no") if made.session == "b" else None
    else:
        engine.fail_step = BackendError("no")
    found = asyncio.run(asyncio.wait_for(all_of("abc"), 5))
    if where == "step" or deterministic:
        assert [str(item) for item in found] == ["no"] * 3
    else:  # alone, a request that is refused is its own episode's affair
        assert [isinstance(item, BackendError) for item in found] == [False, True, False]


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_engine_serves_again_after_an_error(deterministic: bool) -> None:
    engine = ScriptedEngine(lambda made: "right")
    engine.fail_step = BackendError("a moment")
    with pytest.raises(BackendError):
        play_all(engine, {"a": [], "b": []}, deterministic=deterministic)
    engine.fail_step = None
    assert engine.busy  # requests of the first play are still to be ended
    assert all(t.correct for t in play_all(engine, {"c": [], "d": []}, deterministic=deterministic))


class Ill(EchoTask):
    """Its check fails for one problem."""

    def check(self, answer: str, problem: Any) -> bool:
        if problem.id == "b":
            raise ZeroDivisionError("the check of b")
        return True


def test_an_error_of_one_episode_costs_no_more_sampling() -> None:
    # a and c need a second turn and wait for it at the barrier; b ends after its first one, by an error
    engine = ScriptedEngine(call_for({"a": 2, "b": 1, "c": 2}))
    with pytest.raises(ZeroDivisionError, match="the check of b"):
        play_all(engine, {"a": [0], "b": [], "c": [0]}, task=Ill())
    assert engine.batches == [("a/0", "b/0", "c/0")]
    assert sorted(engine.released) == ["a", "b", "c"]


def test_an_error_costs_no_sampling_where_the_others_wait_already() -> None:
    class SlowToFail(RecordingTools):
        @asynccontextmanager
        async def open(self, problem: Any, seed: int) -> AsyncIterator[Any]:
            if problem.id == "b":
                for _ in range(20):
                    await asyncio.sleep(0)
                raise ConnectionError("no session for b")
            yield None

    engine = ScriptedEngine(lambda made: "right")
    agent = PolicyAgent("student", ToyFormat(), EngineSampler(engine), Sampling(), EpisodeLimits(), 10_000)  # type: ignore[arg-type]
    episodes = [episode(name) for name in "abc"]
    with pytest.raises(ConnectionError):
        run_async(run_episodes(agent, episodes, task=EchoTask(), toolbox=Toolbox([SlowToFail()]), limits=agent.limits))
    assert engine.requests == []
    assert sorted(engine.released) == ["a", "b", "c"]


def test_a_cancelled_request_comes_back_as_cancelled() -> None:
    engine = ScriptedEngine(lambda made: "right")

    async def both() -> tuple[Completion, Completion]:
        sampler = EngineSampler(engine)
        sampler.open("a")
        sampler.open("b")
        first = asyncio.create_task(sampler.sample(request("a")))
        await asyncio.sleep(0)
        sampler.cancel("a/0")
        sampler.cancel("unknown")
        return await sampler.sample(request("b")), await first

    b, a = asyncio.run(both())
    assert (a.finish, a.ids) == ("cancelled", ())
    assert b.finish == "stop"


def test_cancelling_overlapped_sampling_ends_the_request() -> None:
    engine = ScriptedEngine(lambda made: "a very long answer")

    async def cancel_by_id() -> Completion:
        sampler = EngineSampler(engine, deterministic=False)
        sampler.open("a")
        task = asyncio.create_task(sampler.sample(request("a", limit=100)))
        for _ in range(4):
            await asyncio.sleep(0)
        sampler.cancel("a/0")
        return await task

    found = asyncio.run(cancel_by_id())
    assert found.finish == "cancelled"
    assert 0 < len(found.ids) < len("a very long answer")


def test_an_episode_that_is_given_up_cancels_its_request() -> None:
    engine = ScriptedEngine(lambda made: "a very long answer")

    async def give_up() -> None:
        sampler = EngineSampler(engine, deterministic=False)
        sampler.open("a")
        task = asyncio.create_task(sampler.sample(request("a", limit=100)))
        for _ in range(4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(give_up())
    assert engine.cancelled == ["a/0"]


def test_who_enters_after_another_left_comes_last() -> None:
    engine = ScriptedEngine(lambda made: "right")

    async def three() -> None:
        sampler = EngineSampler(engine)
        for name in "ab":
            sampler.open(name)
        sampler.close("a")
        sampler.open("c")
        late = asyncio.create_task(sampler.sample(request("c")))
        await asyncio.sleep(0)
        await sampler.sample(request("b"))
        await late

    asyncio.run(three())
    assert engine.batches == [("b/0", "c/0")]


def test_request_ids_tell_episode_and_turn() -> None:
    engine = ScriptedEngine(call_for({"a": 3}))
    play_all(engine, {"a": [0, 0]})
    assert all(re.fullmatch(r"a/\d", made.id) for made in engine.requests)
    assert [made.seed for made in engine.requests] == [7, 7, 7]
    # each turn's context extends the one before it
    contexts = [list(made.context) for made in engine.requests]
    assert contexts[1][: len(contexts[0])] == contexts[0]
    assert contexts[2][: len(contexts[1])] == contexts[1]


def test_the_ending_of_a_student() -> None:
    engine = ScriptedEngine(call_for({"a": 9}))
    (trajectory,) = play_all(engine, {"a": [0] * 9})
    assert trajectory.ending is Ending.MAX_TURNS
