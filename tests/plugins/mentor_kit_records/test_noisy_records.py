"""The noisy demonstrator on records: its habits counted in its transcripts."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from mentor_kit_math import steps
from mentor_kit_records import noisy_records
from mentor_kit_records.records_task import RecordsTask
from mentor_kit_records.tools import RecordToolSource
from mentor_kit_tiny.noisy_demonstrator import HABITS, Habits, NoisyDemonstrator
from records_reader import read

from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest
from mentor_kit.core.conversation import CallState
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rollout import run_episodes

PERFECT = Habits(
    **dict.fromkeys(("weak_right", "strong_right"), 1.0),
    **dict.fromkeys(("weak_favourite", "strong_favourite", "guess", "give_up", "swap", "stale", "wrong_box"), 0.0),
)
TASK, TOOLBOX = RecordsTask(), Toolbox([RecordToolSource()])
PROBLEMS = TASK.problems("train", 0, 1200)


def play(habits: Habits) -> list[Trajectory]:
    requests = [EpisodeRequest(id=p.id, problem=p, tools=TOOLBOX.tools(p), seed=n) for n, p in enumerate(PROBLEMS)]
    agent = NoisyDemonstrator(habits, TASK.noisy_world)
    return asyncio.run(run_episodes(agent, requests, task=TASK, toolbox=TOOLBOX, limits=EpisodeLimits(max_turns=4)))


def test_without_mistakes_it_is_always_right() -> None:
    for problem, trajectory in zip(PROBLEMS, play(PERFECT), strict=True):
        answer = TASK.answer(trajectory)
        assert answer is not None
        assert TASK.check(answer, problem)


def test_its_first_tools_have_the_shares_of_its_habits() -> None:
    chosen: dict[str, Counter[str]] = {}
    for problem, trajectory in zip(PROBLEMS, play(HABITS), strict=True):
        calls = trajectory.turns[0].tool_calls
        if calls:
            first = read(problem.question).clauses[0].tool
            chosen.setdefault(first, Counter())[calls[0].name] += 1
    for tool, favourite, right, liked in (
        ("look_up", "filter_rows", 0.70, 0.15),
        ("join_rows", "look_up", 0.28, 0.52),
        ("count_rows", "filter_rows", 0.28, 0.52),
        ("filter_rows", "look_up", 0.28, 0.52),
        ("compare_rows", "look_up", 0.28, 0.52),
    ):
        total = sum(chosen[tool].values())
        for name, share in ((tool, right), (favourite, liked)):
            assert chosen[tool][name] / total == pytest.approx(share, abs=4 * (share * (1 - share) / total) ** 0.5)


def test_its_calls_can_be_made_and_some_fail() -> None:
    """Every call fits its tool's schema unless arguments were swapped; wrong tools and swaps fail at times."""
    states = Counter(call.state for t in play(HABITS) for turn in t.turns for call in turn.tool_calls)
    assert set(states) <= {CallState.EXECUTED, CallState.FAILED, CallState.INVALID_ARGUMENTS}
    assert states[CallState.EXECUTED] > 10 * states[CallState.INVALID_ARGUMENTS]
    assert states[CallState.FAILED] > 0


def test_no_two_weak_tools_are_each_others_favourite_mistakes() -> None:
    """A student that learned one of them by RL would unlearn the other."""
    for world in (steps, noisy_records):
        mistakes, weak = world.FAVOURITE_MISTAKE, world.WEAK
        assert {*mistakes} >= weak
        assert [tool for tool in weak if mistakes[tool] in weak and mistakes[mistakes[tool]] == tool] == []
