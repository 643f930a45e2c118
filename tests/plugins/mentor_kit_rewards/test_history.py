"""What stands in a problem's history is nobody's work: not for rewards, nor for SFT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mentor_kit_tiny
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_rewards import judging
from mentor_kit_teachers.recorded import RecordedTeacher
from mentor_kit_teachers.records import Recording
from reward_words import CONTEXT, REGISTRY, ran, showed

from mentor_kit.chat import load_chat_format
from mentor_kit.chat.transcript import demonstration_tokens
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import CallState, Message, ToolCall, ToolResult, assistant, tool_result, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.recipe.assembly import build_reward
from mentor_kit.rl.reward import Reward, RewardSpec
from mentor_kit.rollout import run_async, run_episodes

TERMS: list[dict[str, Any]] = [
    *({"use": name} for name in ("ended", "answered", "correct", "known-tools", "clean-calls", "call-economy")),
    *({"use": name} for name in ("tool-match", "tool-overlap", "tool-f1", "tool-multiset-f1", "tool-order")),
    *({"use": name} for name in ("tool-arguments", "format")),
    {"use": "length", "with": {"free": 2, "limit": 40}},
]
EVERY = build_reward(
    RewardSpec.model_validate({"terms": [{**term, "weight": 1.0} for term in TERMS]}), REGISTRY, CONTEXT
)
ADD = ran("add", a=2, b=3)
STATES = [ToolCall(name="add", arguments={"a": 2, "b": 3}, state=state, raw="<tool_call>x") for state in CallState]
TURNS = st.builds(
    assistant,
    st.sampled_from(["", r"\boxed{5}", r"\boxed{6}", "<tool_call>"]),
    reasoning=st.sampled_from(["", "so <think>"]),
    calls=st.lists(st.sampled_from([*STATES, ToolCall(name="nothing", state=CallState.UNKNOWN_TOOL)]), max_size=3),
)
RESULT = tool_result(ToolResult(name="add", content="5"))
HISTORIES = st.lists(st.just(user("And 2 + 3?")) | TURNS | st.just(RESULT), max_size=6)


class Boxed(Task):
    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return ()

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text)

    def check(self, answer: str, problem: Problem) -> bool:
        return answer == problem.answer


class Says:
    """An agent that says the same turns in every episode."""

    name = "says"

    def __init__(self, turns: Sequence[Message]) -> None:
        self.turns = turns

    def start(self, episode: EpisodeRequest) -> Says:
        self.left = iter(self.turns)
        return self

    async def respond(self, messages: Sequence[Message]) -> Reply:
        return Reply(next(self.left, assistant()))

    def trace(self) -> None:
        return None

    def close(self) -> None:
        pass


def problem(history: Sequence[Message] = (), system: str = "") -> Problem:
    return Problem(id="p", question="What is 2 + 3?", answer="5", history=tuple(history), system=system)


def played(about: Problem, *turns: Message) -> Trajectory:
    box = CONTEXT.need_toolbox()
    episodes = [EpisodeRequest("p#0", about, box.tools(about), 0)]
    (found,) = run_async(run_episodes(Says(turns), episodes, task=Boxed(), toolbox=box, limits=EpisodeLimits()))
    return found


CALLING = assistant(calls=[ToolCall(name="add", arguments={"a": 2, "b": 3})])
ANSWER = assistant(r"\boxed{5}")


@given(HISTORIES, st.sampled_from([(ANSWER,), (CALLING, ANSWER), (CALLING, CALLING, assistant("Hm."))]))
def test_no_term_sees_it(history: list[Message], turns: tuple[Message, ...]) -> None:
    with_history, without = (problem(history), problem())
    long, short = (played(about, *turns) for about in (with_history, without))
    shown = [Demonstration.of(long, teacher="t"), showed(ADD)]
    assert EVERY(long, with_history, shown) == EVERY(short, without, shown)
    assert (long.turns, long.calls, long.tools_used) == (short.turns, short.calls, short.tools_used)
    for show in ((), ("results", "words", "reasoning")):
        assert judging.work(long, show, 8000) == judging.work(short, show, 8000)


@pytest.mark.parametrize("preset", ["mentor", "sparse", "mentor-overlap", "mentor-no-match", "mentor-f1"])
@pytest.mark.parametrize(
    "history",
    [
        [user("1 + 1?"), assistant(calls=[ran("add", a=1, b=1)]), RESULT, assistant(r"\boxed{2}")],
        [user("1 + 1?"), assistant(calls=[ToolCall(name="nothing", state=CallState.UNKNOWN_TOOL)]), assistant("2")],
        [assistant(r"\boxed{5}")],
        [user("1 + 1?"), assistant(calls=[ran("add")] * 200)],
    ],
)
def test_presets_pay_for_the_episode_alone(preset: str, history: list[Message]) -> None:
    reward: Reward = build_reward(RewardSpec.model_validate(_spec(preset)), REGISTRY, CONTEXT)
    for turns in ((ANSWER,), (CALLING, ANSWER), (assistant("Hm."),)):
        long, short = played(problem(history, "Be brief."), *turns), played(problem(), *turns)
        assert reward(long, problem(history), [showed(ADD)]).total == reward(short, problem(), [showed(ADD)]).total


def _spec(preset: str) -> Any:
    from mentor_kit.core.component import ComponentSpec
    from mentor_kit.recipe.assembly import reward_spec

    return reward_spec(ComponentSpec(use=preset), REGISTRY, CONTEXT)


CHAT = load_chat_format(Path(mentor_kit_tiny.__file__).parent / "students" / "tiny")


def trained_on(messages: Sequence[Message], opening: int) -> str:
    trace = demonstration_tokens(CHAT, messages, CONTEXT.need_toolbox().tools(problem()), opening=opening)
    return CHAT.tokenizer.decode([token for token, mask in zip(trace.ids, trace.mask, strict=True) if mask])


def test_sft_trains_on_the_episode_alone() -> None:
    history = [user("1 + 1?"), assistant(r"\boxed{2}"), user("2 + 2?"), CALLING, RESULT, assistant(r"\boxed{4}")]
    long = played(problem(history, "Be brief."), CALLING, ANSWER)
    short = played(problem(), CALLING, ANSWER)
    assert long.opening == 8
    assert trained_on(long.messages, long.opening) == trained_on(short.messages, short.opening)
    assert r"\boxed{2}" not in trained_on(long.messages, long.opening)


def test_the_prompt_of_sft_is_the_rollouts() -> None:
    history = [user("1 + 1?"), assistant(r"\boxed{2}")]
    long = played(problem(history), ANSWER)
    tools = CONTEXT.need_toolbox().tools(problem())
    trace = demonstration_tokens(CHAT, long.messages, tools, opening=long.opening)
    assert trace.prompt_ids == tuple(CHAT.open(problem(history).opening(), tools))


HISTORY = [user("1 + 1?"), assistant(calls=[ran("sqrt", number=4)]), RESULT, assistant(r"\boxed{2}")]


@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        ([*HISTORY, user("What is 2 + 3?"), assistant(calls=[ADD]), RESULT, ANSWER], ("add",)),
        ([Message(role="system", content="Be brief."), *HISTORY, user("What  is 2 +\n3?"), ANSWER], ()),
        # the history was left out, or is another one: all of it is work
        ([user("What is 2 + 3?"), assistant(calls=[ADD]), RESULT, ANSWER], ("add",)),
        ([user("1 + 2?"), *HISTORY[1:], user("What is 2 + 3?"), ANSWER], ("sqrt",)),
    ],
)
def test_a_dialogue_from_elsewhere_begins_after_the_history(messages: list[Message], tools: tuple[str, ...]) -> None:
    told = Trajectory(id="d", problem_id="p", agent="x", messages=tuple(messages), ending="answered", correct=True)
    shown = Demonstration.of(told, teacher="x").about(problem(HISTORY))
    assert shown.tools_used == tools
    assert shown.trajectory is not None
    assert shown.trajectory.tools_used == tools
    assert shown.about(problem(HISTORY)) == shown
    assert Demonstration.from_json(shown.to_json()) == shown


def test_a_recording_of_a_problem_with_history_is_found_by_its_question() -> None:
    shown = Demonstration.of(played(problem(HISTORY), ANSWER), teacher="t")
    recording = Recording(shown, problem(HISTORY).question, "a.jsonl, row 1")

    async def all_of() -> list[Demonstration]:
        return [one async for one in RecordedTeacher([recording]).demonstrate([problem(HISTORY)])]

    assert run_async(all_of()) == [shown]


def test_an_opening_beyond_the_messages_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\b3\b.*\b1\b"):
        Trajectory(id="t", problem_id="p", agent="a", messages=(user("?"),), opening=3, ending="answered")
