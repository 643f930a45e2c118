from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from rollout_fakes import (
    ASSISTANT,
    END,
    TOOL,
    USER,
    EchoTask,
    RecordingTools,
    ScriptedEngine,
    ToyFormat,
    encode,
    episode,
    problem,
)

from mentor_kit.backend.engine_sampler import EngineSampler
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Ending, TokenTrace, Trajectory
from mentor_kit.rollout import PolicyAgent, Sampling, run_async, run_episodes

PROMPT = [USER, *encode("Q a"), END, ASSISTANT]
CALL = '!say {"word": "hi"}'
#: After a call: the marker, the result, its end, and the opening of the next turn.
RESULT = [TOOL, *encode("hi"), END, ASSISTANT]


def say(word: str) -> str:
    """Say a word."""
    return word


def student(turns: Sequence[str], *, context: int = 1000, sampling: Sampling | None = None, **limits: int) -> Any:
    """The trajectory of one episode and the engine that spoke in it."""

    def script(made: SampleRequest) -> str:
        return turns[int(made.id.rpartition("/")[2])]

    engine = ScriptedEngine(script)
    toolbox = Toolbox([RecordingTools(Tool.from_function(say))])
    agent = PolicyAgent(
        name="student",
        format=ToyFormat(),  # type: ignore[arg-type]
        sampler=EngineSampler(engine),
        sampling=sampling or Sampling(),
        limits=EpisodeLimits(**limits),
        context=context,
    )
    episodes = [episode("a", toolbox.tools(problem("a")))]
    (trajectory,) = run_async(
        run_episodes(agent, episodes, task=EchoTask(), toolbox=toolbox, limits=agent.limits, cut=agent.format.truncate)
    )
    return trajectory, engine


def trace_of(trajectory: Trajectory) -> TokenTrace:
    assert trajectory.tokens is not None
    return trajectory.tokens


def test_the_trace_has_what_was_sampled_and_nothing_else_is_trained():
    trajectory, engine = student([CALL, "right"])
    trace = trace_of(trajectory)
    call, answer = engine.completions["a/0"], engine.completions["a/1"]
    assert list(trace.prompt_ids) == PROMPT
    assert list(trace.ids) == [*call.ids, *RESULT, *answer.ids]
    assert list(trace.mask) == [1] * len(call.ids) + [0] * len(RESULT) + [1] * len(answer.ids)
    assert list(trace.log_probs) == [*call.log_probs, *([0.0] * len(RESULT)), *answer.log_probs]
    assert trace.sampled == len(call.ids) + len(answer.ids)
    assert trajectory.correct


def test_the_context_of_a_turn_is_the_trace_before_it():
    trajectory, engine = student([CALL, CALL, "right"])
    trace = trace_of(trajectory)
    whole = [*trace.prompt_ids, *trace.ids]
    for made in engine.requests:
        said = engine.completions[made.id].ids
        start = len(made.context)
        assert list(made.context) == whole[:start]
        assert tuple(whole[start : start + len(said)]) == said


def test_a_turn_has_its_limit():
    trajectory, engine = student(["x" * 30], max_turn_tokens=12)
    assert trajectory.ending is Ending.LENGTH
    assert [made.max_new_tokens for made in engine.requests] == [12]
    assert trace_of(trajectory).ids == (ord("x"),) * 12
    assert trajectory.final_text == "x" * 12


def test_the_response_has_its_limit_over_all_turns():
    used = len(CALL) + 1 + len(RESULT)
    trajectory, engine = student([CALL, "x" * 30], max_response_tokens=used + 5)
    assert [made.max_new_tokens for made in engine.requests] == [used + 5, 5]
    assert trajectory.ending is Ending.LENGTH
    assert len(trace_of(trajectory).ids) == used + 5


@pytest.mark.parametrize("spare", [0, -1, -3])
def test_a_response_that_results_use_up_ends_by_length(spare):
    used = len(CALL) + 1 + len(RESULT)
    trajectory, engine = student([CALL, "right"], max_response_tokens=used + spare)
    assert trajectory.ending is Ending.LENGTH
    assert len(engine.requests) == 1
    assert not trajectory.correct
    assert len(trace_of(trajectory).ids) <= used + spare


@pytest.mark.parametrize("spare", [0, -1, -3])
def test_a_full_context_ends_the_episode_and_its_trace_still_fits(spare):
    context = len(PROMPT) + len(CALL) + 1 + len(RESULT) + spare
    trajectory, engine = student([CALL, "right"], context=context)
    trace = trace_of(trajectory)
    assert trajectory.ending is Ending.CONTEXT_FULL
    assert len(engine.requests) == 1
    assert len(trace.prompt_ids) + len(trace.ids) <= context
    assert list(trace.ids) == list(engine.completions["a/0"].ids)
    # the dialogue tells what happened, the result included
    assert [m.content for m in trajectory.messages] == ["Q a", "", "hi"]


def test_a_turn_that_the_context_cuts_is_cut():
    context = len(PROMPT) + 4
    trajectory, engine = student(["x" * 30], context=context)
    assert trajectory.ending is Ending.LENGTH
    assert [made.max_new_tokens for made in engine.requests] == [4]


def test_a_prompt_without_room_says_nothing():
    trajectory, engine = student(["right"], context=len(PROMPT))
    assert trajectory.ending is Ending.CONTEXT_FULL
    assert engine.requests == []
    assert trace_of(trajectory).ids == ()
    assert not trajectory.correct


def test_how_tokens_are_drawn_reaches_the_engine():
    sampling = Sampling(temperature=0.7, top_p=0.9, top_k=5)
    trajectory, engine = student(["right"], sampling=sampling)
    (made,) = engine.requests
    assert (made.temperature, made.top_p, made.top_k, made.seed) == (0.7, 0.9, 5, 7)
    assert made.stop_ids == ToyFormat.stop_ids
    assert trace_of(trajectory).temperature == 0.7


def test_greedy_log_probs_are_those_of_temperature_one():
    trajectory, engine = student(["right"], sampling=Sampling(temperature=0))
    assert engine.requests[0].temperature == 0
    assert trace_of(trajectory).temperature == 1.0


def test_long_results_are_cut_by_the_formats_tokens():
    trajectory, _ = student(['!say {"word": "abcdefgh"}', "right"], max_result_tokens=4)
    assert trajectory.messages[2].content == "abc~"
