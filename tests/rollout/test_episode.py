from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from rollout_fakes import EchoTask, RecordingTools, ScriptedAgent, ScriptedAgentSession, episode, problem

from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, call, user
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.rollout import cut_by_characters, run_async, run_episodes


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def slow_add(a: int, b: int) -> int:
    """Add two numbers, later."""
    await asyncio.sleep(0)
    return a + b


def fail(how: str) -> int:
    """Raise something."""
    errors: dict[str, BaseException] = {
        "tool": ToolError("the shop is\nclosed"),
        "value": ValueError("no such row"),
        "silent": ValueError(),
        "exit": SystemExit(3),
        "cancelled": asyncio.CancelledError("a helper of the tool's own was cancelled"),
        "surrogate": OSError("cannot read \udcff"),
    }
    raise errors[how]


def give(what: str) -> Any:
    """Give a value that is no text."""
    values: dict[str, Any] = {
        "table": {"größe": [1, None]},
        "object": {1, 2}.__class__,
        "nothing": None,
        "surrogate": "file \udcff",
    }
    return values[what]


TOOLS = RecordingTools(*(Tool.from_function(function) for function in (add, slow_add, fail, give)))


def run(
    turns: Sequence[Any], *, task: Any = None, limits: EpisodeLimits | None = None, tools: RecordingTools = TOOLS
) -> tuple[Trajectory, ScriptedAgentSession]:
    agent = ScriptedAgent({"p": turns})
    toolbox = Toolbox([tools])
    played = run_async(
        run_episodes(
            agent,
            [episode("p", toolbox.tools(problem("p")))],
            task=task or EchoTask(),
            toolbox=toolbox,
            limits=limits or EpisodeLimits(),
        )
    )
    return played[0], agent.sessions["p"]


def result_of(made: ToolCall) -> tuple[ToolCall, Message]:
    trajectory, _ = run([assistant(calls=[made]), assistant("right")])
    return trajectory.calls[0], trajectory.messages[2]


def test_respond_tools_respond():
    trajectory, session = run(
        [assistant("let me see", calls=[call("add", a=1, b=2), call("slow_add", a=3, b=4)]), assistant("right")]
    )
    assert [m.role for m in trajectory.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [m.content for m in trajectory.messages] == ["Q p", "let me see", "3", "7", "right"]
    assert [c.state for c in trajectory.calls] == [CallState.EXECUTED] * 2
    assert [[m.content for m in heard] for heard in session.heard] == [["Q p"], ["3", "7"]]
    assert (trajectory.ending, trajectory.answer, trajectory.correct) == (Ending.ANSWERED, "right", True)
    assert (trajectory.id, trajectory.problem_id, trajectory.agent) == ("p", "p", "scripted")
    assert session.closed == 1


@pytest.mark.parametrize(
    ("made", "state", "wording"),
    [
        (call("add", a=0, b=0), CallState.EXECUTED, "0"),
        (call("give", what="table"), CallState.EXECUTED, '{"größe": [1, null]}'),
        (call("give", what="nothing"), CallState.EXECUTED, "null"),
        (call("give", what="object"), CallState.EXECUTED, "\"<class 'set'>\""),
        (call("fail", how="tool"), CallState.FAILED, "error: the shop is\nclosed"),
        (call("fail", how="value"), CallState.FAILED, "error: ValueError: no such row"),
        (call("fail", how="silent"), CallState.FAILED, "error: ValueError: ValueError"),
        (call("fail", how="exit"), CallState.FAILED, "error: SystemExit: 3"),
        (
            call("fail", how="cancelled"),
            CallState.FAILED,
            "error: CancelledError: a helper of the tool's own was cancelled",
        ),
        (
            call("ad", a=1, b=1),
            CallState.UNKNOWN_TOOL,
            "error: no tool is called 'ad' (did you mean 'add'?)",
        ),
        (
            ToolCall(state=CallState.MALFORMED, error="no closing tag"),
            CallState.MALFORMED,
            "error: no closing tag",
        ),
        (
            ToolCall(name="add", state=CallState.MALFORMED, error="no closing tag"),
            CallState.MALFORMED,
            "error: no closing tag",
        ),
        (ToolCall(name="sub", state=CallState.MALFORMED, error="no"), CallState.UNKNOWN_TOOL, None),
    ],
)
def test_every_call_gets_its_state_and_its_words(made, state, wording):
    found, message = result_of(made)
    assert found.state is state
    assert message.role == "tool"
    assert message.result is not None
    assert message.result.ok is (state is CallState.EXECUTED)
    assert message.result.content == message.content
    if wording is not None:
        assert message.content == wording


def test_invalid_arguments_are_explained_and_never_run():
    tools = RecordingTools(Tool.from_function(add))
    trajectory, _ = run([assistant(calls=[call("add", a="one", b=2)]), assistant("right")], tools=tools)
    assert trajectory.calls[0].state is CallState.INVALID_ARGUMENTS
    assert trajectory.messages[2].content == f"error: {trajectory.calls[0].error}"
    assert "'one'" in trajectory.calls[0].error
    assert tools.called == []


@pytest.mark.parametrize("made", [call("give", what="surrogate"), call("fail", how="surrogate")])
def test_text_that_is_no_unicode_is_mended(made):
    found, message = result_of(made)
    assert message.content.endswith("?")
    assert found.to_json()
    assert message.to_json()


def test_a_keyboard_interrupt_is_no_tools_fault():
    def interrupt() -> int:
        """Interrupt."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([assistant(calls=[call("interrupt")])], tools=RecordingTools(Tool.from_function(interrupt)))


def test_long_results_are_cut_with_a_mark():
    tools = RecordingTools(Tool.from_function(_long))
    trajectory, _ = run(
        [assistant(calls=[call("_long")]), assistant("right")], tools=tools, limits=EpisodeLimits(max_result_tokens=10)
    )
    result = trajectory.messages[2].result
    assert result is not None
    assert result.truncated
    assert len(result.content) == 40
    assert result.content.endswith("… [cut: 1000 characters]")


def _long() -> str:
    """Say much."""
    return "x" * 1000


def test_cutting_leaves_what_fits():
    assert cut_by_characters("x" * 40, 10) == ("x" * 40, False)
    assert cut_by_characters("x" * 41, 10)[1] is True


def test_the_last_turn_may_not_call():
    turns = [assistant(calls=[call("add", a=n, b=0)]) for n in range(3)]
    task = EchoTask()
    trajectory, session = run(turns, limits=EpisodeLimits(max_turns=2), task=task)
    assert trajectory.ending is Ending.MAX_TURNS
    assert [m.content for m in trajectory.messages] == ["Q p", "", "0", "", "1"]
    assert (trajectory.answer, trajectory.correct, task.asked) == (None, False, [])
    assert len(session.heard) == 2


def test_a_turn_that_was_cut_is_checked_and_not_run():
    tools = RecordingTools(Tool.from_function(add))
    turn = Reply(assistant("right", calls=[call("add", a=1, b=2), call("nope")]), finish="length")
    trajectory, _ = run([turn], tools=tools)
    assert trajectory.ending is Ending.LENGTH
    assert [c.state for c in trajectory.calls] == [CallState.VALID, CallState.UNKNOWN_TOOL]
    assert (trajectory.answer, trajectory.correct, tools.called) == (None, False, [])


def test_a_full_context_says_nothing():
    trajectory, _ = run([assistant(calls=[call("add", a=1, b=2)]), Reply(assistant(), finish="context")])
    assert trajectory.ending is Ending.CONTEXT_FULL
    assert [m.role for m in trajectory.messages] == ["user", "assistant", "tool"]


class Talkative(EchoTask):
    def next_user(self, problem: Problem, dialogue: Sequence[Message]) -> str | None:
        said = [m.content for m in dialogue if m.role == "user"]
        return "and now?" if len(said) < 2 else None


def test_the_user_may_go_on():
    trajectory, session = run([assistant("hm"), assistant(calls=[call("add", a=1, b=1)]), assistant("right")],
                              task=Talkative())  # fmt: skip
    assert [m.content for m in trajectory.messages] == ["Q p", "hm", "and now?", "", "2", "right"]
    assert session.heard[1] == (user("and now?"),)
    assert trajectory.correct


def test_tools_are_opened_with_problem_and_seed_and_closed():
    tools = RecordingTools(Tool.from_function(add))
    agent = ScriptedAgent({"a": [assistant("right")], "b": [assistant("wrong")]})
    toolbox = Toolbox([tools])
    episodes = [episode("a", seed=11), episode("b", seed=12)]
    played = run_async(run_episodes(agent, episodes, task=EchoTask(), toolbox=toolbox, limits=EpisodeLimits()))
    assert tools.opened == [("a", 11), ("b", 12)]
    assert sorted(tools.closed) == ["a", "b"]
    assert [t.correct for t in played] == [True, False]


async def _forever() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_an_agents_error_ends_all_and_closes_everything():
    tools = RecordingTools(Tool.from_function(slow_add))
    agent = ScriptedAgent(
        {
            "a": [_forever],
            "b": [assistant(calls=[call("slow_add", a=1, b=2)]), RuntimeError("the agent fell ill")],
            "c": [assistant("right")],
        }
    )
    toolbox = Toolbox([tools])
    episodes = [episode(name, toolbox.tools(problem(name))) for name in "abc"]
    with pytest.raises(RuntimeError, match="the agent fell ill"):
        run_async(run_episodes(agent, episodes, task=EchoTask(), toolbox=toolbox, limits=EpisodeLimits()))
    assert [agent.sessions[name].closed for name in "abc"] == [1, 1, 1]
    assert sorted(tools.closed) == ["a", "b", "c"]


def test_an_error_in_the_first_moment_closes_sessions_that_never_responded():
    agent = ScriptedAgent({"a": [RuntimeError("at once")], "b": [_forever]})
    with pytest.raises(RuntimeError, match="at once"):
        run_async(
            run_episodes(
                agent, [episode("a"), episode("b")], task=EchoTask(), toolbox=Toolbox(), limits=EpisodeLimits()
            )
        )
    assert [agent.sessions[name].closed for name in "ab"] == [1, 1]


def test_a_session_that_cannot_start_closes_the_others():
    class Reluctant(ScriptedAgent):
        def start(self, episode: EpisodeRequest) -> ScriptedAgentSession:
            if episode.id == "b":
                raise RuntimeError("not this one")
            return super().start(episode)

    agent = Reluctant({"a": [assistant("right")]})
    with pytest.raises(RuntimeError, match="not this one"):
        run_async(
            run_episodes(
                agent, [episode("a"), episode("b")], task=EchoTask(), toolbox=Toolbox(), limits=EpisodeLimits()
            )
        )
    assert agent.sessions["a"].closed == 1


def test_a_tasks_error_is_raised_as_it_is():
    class Broken(EchoTask):
        def check(self, answer: str, problem: Problem) -> bool:
            raise ZeroDivisionError("the check")

    with pytest.raises(ZeroDivisionError, match="the check"):
        run([assistant("right")], task=Broken())


def test_no_episodes_give_no_trajectories():
    assert (
        run_async(run_episodes(ScriptedAgent({}), [], task=EchoTask(), toolbox=Toolbox(), limits=EpisodeLimits())) == []
    )


def test_it_runs_inside_a_running_loop_too():
    async def notebook() -> Trajectory:
        return run([assistant(calls=[call("slow_add", a=2, b=3)]), assistant("right")])[0]

    assert asyncio.run(notebook()).messages[2].content == "5"
