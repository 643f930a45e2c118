"""The noisy demonstrator's habits, counted in some thousand transcripts and compared with their probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pytest
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.operations import math_tools
from mentor_kit_tiny.noisy_demonstrator import (
    HABITS,
    SKILL,
    Habits,
    NoisyDemonstrator,
    NoisyDemonstratorOptions,
    NoisyTeacher,
)
from pydantic import ValidationError
from question_reader import Question, read

from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest
from mentor_kit.core.conversation import Message
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import Problem, boxed_answer
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rollout import run_episodes
from mentor_kit.utils.randomness import derive_seed

COUNT = 2500
LIMITS = EpisodeLimits(max_turns=4)
TOOLBOX = Toolbox([FunctionTools(math_tools(2))])
STRONG = {"add", "subtract", "multiply", "divide"}

#: The wrong tool it prefers, by the right one.
FAVOURITE = {
    "add": "subtract",
    "subtract": "add",
    "multiply": "add",
    "divide": "multiply",
    "sum_numbers": "add",
    "floor": "abs_value",
    "ceil": "round_number",
    "round_number": "floor",
    "power": "multiply",
    "sqrt": "divide",
    "abs_value": "subtract",
    "modulo": "subtract",
}
PERFECT = Habits(
    weak_right=1,
    weak_favourite=0,
    strong_right=1,
    strong_favourite=0,
    guess=0,
    give_up=0,
    swap=0,
    stale=0,
    wrong_box=0,
)


@dataclass(frozen=True)
class Episode:
    """A transcript with its question, as read from the text."""

    question: Question
    trajectory: Trajectory

    @property
    def turns(self) -> tuple[Message, ...]:
        return self.trajectory.turns

    @property
    def results(self) -> list[Message]:
        return [message for message in self.trajectory.messages if message.role == "tool"]

    @property
    def numbers(self) -> set[float]:
        """All numbers of the question."""
        return {float(self.question.start), *(float(x) for clause in self.question.clauses for x in clause.operands)}


@lru_cache(maxsize=2)
def problems(split: str, count: int) -> tuple[Problem, ...]:
    return tuple(ArithmeticTask().problems(split, 0, count))


@lru_cache(maxsize=8)
def episodes(habits: Habits, count: int = COUNT, seed: int = 0) -> tuple[Episode, ...]:
    found = problems("train", count)
    episodes = [
        EpisodeRequest(id=p.id, problem=p, tools=TOOLBOX.tools(p), seed=derive_seed(seed, "test", p.id)) for p in found
    ]
    task = ArithmeticTask()
    agent = NoisyDemonstrator(habits, task.noisy_world)
    played = asyncio.run(run_episodes(agent, episodes, task=task, toolbox=TOOLBOX, limits=LIMITS))
    return tuple(Episode(read(p.question), trajectory) for p, trajectory in zip(found, played, strict=True))


def assert_share(outcomes: Sequence[bool], probability: float) -> None:
    """Within four standard errors of a binomial share."""
    assert len(outcomes) > 100
    error = (probability * (1 - probability) / len(outcomes)) ** 0.5
    assert sum(outcomes) / len(outcomes) == pytest.approx(probability, abs=4 * error), len(outcomes)


@pytest.mark.parametrize("habits", [HABITS, SKILL], ids=["habits", "skill"])
class TestShares:
    def test_guesses(self, habits: Habits) -> None:
        assert_share([not episode.turns[0].tool_calls for episode in episodes(habits)], habits.guess)

    def test_tools(self, habits: Habits) -> None:
        firsts = [
            (episode.question.operations[0], episode.turns[0].tool_calls[0].name)
            for episode in episodes(habits)
            if episode.turns[0].tool_calls
        ]
        for strong, right, favourite in (
            (False, habits.weak_right, habits.weak_favourite),
            (True, habits.strong_right, habits.strong_favourite),
        ):
            chosen = [(asked, used) for asked, used in firsts if (asked in STRONG) == strong]
            assert_share([asked == used for asked, used in chosen], right)
            assert_share([FAVOURITE[asked] == used for asked, used in chosen], favourite)
        for asked, favourite_tool in FAVOURITE.items():
            others = {used for right_tool, used in firsts if right_tool == asked} - {asked, favourite_tool}
            assert len(others) >= 4, "the rest is spread over the other tools"

    def test_gives_up_before_the_second_step(self, habits: Habits) -> None:
        begun = [ep for ep in episodes(habits) if len(ep.question.clauses) == 2 and ep.turns[0].tool_calls]
        assert_share([not episode.turns[1].tool_calls for episode in begun], habits.give_up)

    def test_swaps_arguments(self, habits: Habits) -> None:
        swapped = []
        for episode in episodes(habits):
            start, calls = float(episode.question.start), episode.turns[0].tool_calls
            operands = episode.question.clauses[0].operands
            given = list(calls[0].arguments.values()) if calls else []
            if len(given) == 2 and len(operands) == 1 and start != operands[0]:
                assert sorted(given) == sorted([start, float(operands[0])])
                swapped.append(given[0] != start)
        assert_share(swapped, habits.swap)

    def test_works_on_stale_values(self, habits: Habits) -> None:
        stale = []
        for episode in episodes(habits):
            if len(episode.turns) < 2 or not episode.turns[1].tool_calls or not episode.results[0].result.ok:
                continue
            start, value = float(episode.question.start), float(episode.results[0].content)
            given = list(episode.turns[1].tool_calls[0].arguments.values())
            operands = {float(x) for x in episode.question.clauses[1].operands} or {2.0, 0.0}
            if isinstance(given[0], list) or start == value or {start, value} & operands:
                continue
            assert (start in given) != (value in given)
            stale.append(start in given)
        assert_share(stale, habits.stale)

    def test_boxes_a_wrong_number(self, habits: Habits) -> None:
        wrong = []
        for episode in episodes(habits):
            if len(episode.turns) < 2 or not episode.results[-1].result.ok:
                continue
            value = float(episode.results[-1].content)
            answer = float(boxed_answer(episode.trajectory.final_text) or "nan")
            if value not in episode.numbers:
                assert answer == value or answer in episode.numbers
                wrong.append(answer != value)
        assert_share(wrong, habits.wrong_box)

    def test_ends_with_an_answer_and_calls_real_tools(self, habits: Habits) -> None:
        found = episodes(habits)
        answered = [ep.trajectory.ended and ep.trajectory.answer is not None for ep in found]
        assert sum(answered) >= 0.9 * len(found)
        calls = [call for episode in found for call in episode.trajectory.calls]
        assert {call.name for call in calls} == set(FAVOURITE)
        assert {call.state for call in calls} <= {"executed", "failed", "invalid_arguments"}
        assert sum(call.state == "executed" for call in calls) > 0.9 * len(calls)


class TestWhatItIsFor:
    def test_the_mistake_outranks_the_right_tool_in_habits_alone(self) -> None:
        assert HABITS.weak_favourite > HABITS.weak_right > 0
        assert SKILL.weak_right > SKILL.weak_favourite

    def test_it_solves_some_and_far_from_all(self) -> None:
        right = {h: sum(ep.trajectory.correct for ep in episodes(h)) / COUNT for h in (HABITS, SKILL)}
        assert 0.1 < right[HABITS] < 0.5
        assert right[HABITS] < right[SKILL] < 0.8

    def test_without_faults_it_is_a_solver(self) -> None:
        for episode in episodes(PERFECT, 300):
            assert episode.trajectory.correct
            assert episode.trajectory.tools_used == episode.question.operations

    def test_with_one_fault_it_has_that_fault(self) -> None:
        always = PERFECT.model_copy(
            update={"weak_right": 0.0, "weak_favourite": 1.0, "strong_right": 0.0, "strong_favourite": 1.0}
        )
        for episode in episodes(always, 300):
            called = [call.name for call in episode.trajectory.calls]
            assert called == [FAVOURITE[operation] for operation in episode.question.operations]
        for episode in episodes(PERFECT.model_copy(update={"guess": 1.0}), 100):
            assert not episode.trajectory.calls
            assert float(episode.trajectory.answer or "nan") in episode.numbers

    @pytest.mark.parametrize("split", ["compositions", "wordings", "longer"])
    def test_it_speaks_on_every_split(self, split: str) -> None:
        found = ArithmeticTask().problems(split, 0, 20)
        for demonstration in demonstrate(found, seed=0):
            assert demonstration.trajectory is not None
            assert demonstration.trajectory.ended


def demonstrate(found: Sequence[Problem], *, seed: int, habits: Habits = HABITS) -> list[Demonstration]:
    teacher = NoisyTeacher(habits, ArithmeticTask().noisy_world, ArithmeticTask(), TOOLBOX, LIMITS, seed)

    async def collect() -> list[Demonstration]:
        return [demonstration async for demonstration in teacher.demonstrate(found)]

    return asyncio.run(collect())


class TestTeacher:
    def test_one_demonstration_a_problem_right_or_wrong(self) -> None:
        found = problems("train", COUNT)[:200]
        made = demonstrate(found, seed=0)
        assert [demonstration.problem_id for demonstration in made] == [problem.id for problem in found]
        assert {demonstration.correct for demonstration in made} == {True, False}
        for problem, demonstration in zip(found, made, strict=True):
            assert demonstration.teacher == "noisy-demonstrator"
            assert demonstration.trajectory is not None
            answer = demonstration.trajectory.answer or ""
            assert demonstration.correct == ArithmeticTask().check(answer, problem)
            assert demonstration.tools_used == demonstration.trajectory.tools_used

    def test_deterministic_by_seed_and_problem_in_any_order(self) -> None:
        found = problems("train", COUNT)[:60]
        once = demonstrate(found, seed=0)
        assert once == demonstrate(found, seed=0)
        assert once[::-1] == demonstrate(found[::-1], seed=0)
        assert once != demonstrate(found, seed=1)


class TestOptions:
    def test_stages(self) -> None:
        assert NoisyDemonstratorOptions().chosen == HABITS
        assert NoisyDemonstratorOptions(stage="skill").chosen == SKILL
        assert NoisyDemonstratorOptions(stage="skill", habits=PERFECT).chosen == PERFECT

    @pytest.mark.parametrize(
        "options",
        [
            {"stage": "expert"},
            {"stage": "skills"},
            {"habit": {}},
            {"habits": {"guess": 1.1}},
            {"habits": {"swap": -0.1}},
            {"habits": {"swop": 0.1}},
            {"habits": {"stale": float("nan")}},
            {"habits": {"weak_right": 0.8, "weak_favourite": 0.3}},
            {"habits": {"strong_right": 0.9}},
        ],
    )
    def test_faults(self, options: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            NoisyDemonstratorOptions.model_validate(options)
