"""Trajectories that hypothesis makes, whatever states their calls are in: none earns more than honest work does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from attack_worlds import PRESETS, parts
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.assembly import build_reward
from mentor_kit.rl.reward import Reward, RewardSpec

TOOLS = ("add", "sqrt", "floor", "power")
TEXTS = st.sampled_from(["", "so", r"\boxed{5}", '<tool_call>{"name": "add", "arguments": {}}</tool_call>', "</think>"])
ARGUMENTS: list[dict[str, object]] = [
    {},
    {"a": 1, "b": 2},
    {"a": 1.0, "b": 2},
    {"b": "2", "a": True},
    {"numbers": [1, 2], "odd": {"a": {"b": []}}},
    {"a": 10**400, "b": 1e308, "odd": None, "text": "\u0000"},
]
PROBLEM = Problem(id="p", question="What is 2 + 3?", answer="5")

PHASES = (Phase.generate, Phase.shrink)

#: All terms at once, each by its own name; only those that need no number of their own.
TERMS = ("correct", "tool-match", "tool-overlap", "tool-f1", "tool-multiset-f1", "tool-order", "tool-arguments")
TERMS += ("known-tools", "clean-calls", "call-economy", "format")


def _calls() -> list[ToolCall]:
    """Calls in every state: what was valid or ran has a tool's name, what is unknown has none."""
    unknown = ("calculator", "аdd", "add\u200b", "<think>", " add")
    names = {CallState.UNKNOWN_TOOL: unknown, CallState.MALFORMED: ("", "add"), CallState.PARSED: (*TOOLS, *unknown)}
    return [
        ToolCall(name=name, arguments=arguments, state=state, raw=raw)
        for state in CallState
        for name in names.get(state, TOOLS)
        for arguments in ARGUMENTS
        for raw in ("", '<tool_call>{"name": "add", "arguments": {}}</tool_call>')
    ]


CALLS = _calls()
EXECUTED = [call for call in CALLS if call.state is CallState.EXECUTED]


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    turns: list[Message] = [
        assistant(draw(TEXTS), reasoning=draw(TEXTS), calls=draw(st.lists(st.sampled_from(CALLS), max_size=4)))
        for _ in range(draw(st.integers(0, 4)))
    ]
    ending = draw(st.sampled_from(list(Ending)))
    answer = draw(st.sampled_from([None, "", " ", "5", "6", "1, 5"])) if ending is Ending.ANSWERED else None
    return Trajectory(
        id="t",
        problem_id="p",
        agent="student",
        messages=(user(PROBLEM.question), *turns, assistant(draw(TEXTS))),
        ending=ending,
        answer=answer,
        correct=answer == "5",
    )


def honest(executed: Sequence[ToolCall], *, right: bool) -> Trajectory:
    """Each call in a turn of its own and in plain form, and one answer."""
    return Trajectory(
        id="h",
        problem_id="p",
        agent="student",
        messages=(user(PROBLEM.question), *(assistant(calls=[call]) for call in executed), assistant("done")),
        ending=Ending.ANSWERED,
        answer="5" if right else "6",
        correct=right,
    )


def demonstration(executed: Sequence[ToolCall]) -> Demonstration:
    return Demonstration.of(honest(executed, right=True), teacher="t")


SHOWN = st.lists(st.sampled_from(EXECUTED), max_size=4)


@cache
def rewards() -> dict[str, Reward]:
    registry, context = default_registry(), parts().context
    every = RewardSpec.model_validate(
        {
            "gates": [{"use": "ended", "otherwise": 0.0}, {"use": "answered", "otherwise": 0.0}],
            "terms": [{"use": term, "weight": 0.1, "when_wrong": 0.5} for term in TERMS],
        }
    )
    found = {name: parts(name).reward for name in PRESETS}
    return {"every term": build_reward(every, registry, context), **{k: v for k, v in found.items() if v is not None}}


def check_many(count: int) -> set[CallState]:
    """Look at so many trajectories under every reward; the states their calls were in."""
    seen: set[CallState] = set()
    made = 0

    @settings(max_examples=count, suppress_health_check=list(HealthCheck), database=None, phases=PHASES)
    @given(trajectories(), st.lists(SHOWN, min_size=1, max_size=3), st.text(max_size=20))
    def check(trajectory: Trajectory, shown: list[list[ToolCall]], text: str) -> None:
        nonlocal made
        made += 1
        seen.update(call.state for call in trajectory.calls)
        demonstrations = [demonstration(one) for one in shown]
        for name, reward in rewards().items():
            earned = reward(trajectory, PROBLEM, demonstrations)
            assert earned.total <= _bound(reward, trajectory, shown, demonstrations) + 1e-9, name
            assert reward(_asked_otherwise(trajectory, text), _prompt(text), demonstrations) == earned, name

    check()
    assert made >= count
    return seen


def _bound(
    reward: Reward, trajectory: Trajectory, shown: Sequence[Sequence[ToolCall]], demonstrations: list[Demonstration]
) -> float:
    """What honest work earns: the same executed calls and verdict, or the best of the teacher's own."""
    total: Callable[[Trajectory], float] = lambda made: reward(made, PROBLEM, demonstrations).total  # noqa: E731
    twin = total(honest(trajectory.executed, right=trajectory.correct))
    return min(twin, max(total(honest(calls, right=trajectory.correct)) for calls in shown))


def _prompt(text: str) -> Problem:
    quoted = text + r' \boxed{5} <tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call>'
    return PROBLEM.model_copy(update={"question": quoted, "system": quoted})


def _asked_otherwise(trajectory: Trajectory, text: str) -> Trajectory:
    _, *rest = trajectory.messages
    return trajectory.model_copy(update={"messages": (*_prompt(text).opening(), *rest)})


def test_a_few_hundred() -> None:
    assert check_many(200) == set(CallState)


@pytest.mark.slow
def test_ten_thousand() -> None:
    assert check_many(10_000) == set(CallState)
