"""The task: its splits, its checks, and its worked solutions with the real tools."""

from __future__ import annotations

import asyncio

import pytest
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN, TRAIN
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks import BuildContext


@pytest.fixture
def task(build):
    return build("tasks", "weather")


def test_splits_are_deterministic_and_share_no_problem(task):
    splits = {split: task.problems(split, 0, 1000) for split in task.splits}
    assert all(task.problems(split, 0, 5) == problems[:5] for split, problems in splits.items())
    assert len({problem.question for found in splits.values() for problem in found}) == sum(map(len, splits.values()))
    assert {len(problem.extra["cities"]) for problem in splits[OUT_OF_DOMAIN]} == {3}


@pytest.mark.parametrize(("text", "right"), [(r"\boxed{%s}", True), (r"\boxed{Atlantis}", False), ("%s", False)])
def test_only_the_city_in_a_box_is_right(task, text, right):
    (problem,) = task.problems(TRAIN, 0, 1)
    messages = (user(problem.question), assistant(text.replace("%s", problem.answer)))
    trajectory = Trajectory(id="t", problem_id=problem.id, agent="a", messages=messages, ending=Ending.ANSWERED)
    answer = task.answer(trajectory)
    assert (answer is not None and task.check(answer, problem)) is right


@pytest.mark.parametrize("split", [TRAIN, IN_DOMAIN, OUT_OF_DOMAIN])
def test_every_problem_is_solved_with_the_real_tools(build, registry, task, split):
    toolbox = Toolbox([FunctionTools(build("tools", "weather"))])
    teacher = build("teachers", "scripted", BuildContext(registry, task=task, toolbox=toolbox))

    async def demonstrations():
        return [found async for found in teacher.demonstrate(task.problems(split, 0, 1000))]

    shown = asyncio.run(demonstrations())
    assert shown
    assert all(demonstration.correct for demonstration in shown)
    assert all(set(demonstration.tools_used) == {"temperature"} for demonstration in shown)
