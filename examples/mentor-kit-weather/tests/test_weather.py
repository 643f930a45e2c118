"""The plugin as mentor-kit sees it: everything is built by name, through the registry of installed plugins."""

from __future__ import annotations

import asyncio

import pytest

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.task import IN_DOMAIN, OUT_OF_DOMAIN, TRAIN, Problem
from mentor_kit.core.tool import Tool, ToolError
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks import BuildContext, ComponentError, default_registry

REGISTRY = default_registry()
CONTEXT = BuildContext(REGISTRY)
TASK = REGISTRY.build("tasks", ComponentSpec(use="warmest-city"), CONTEXT)
(WEATHER,) = REGISTRY.build("tools", ComponentSpec(use="weather"), CONTEXT)


def test_the_schema_says_what_the_model_must_know():
    parameters = Tool.from_function(WEATHER).parameters
    assert parameters["properties"] == {"city": {"type": "string", "description": "The city's English name."}}
    assert parameters["required"] == ["city"]


def test_the_tool_knows_its_cities():
    assert WEATHER("Nuuk") < WEATHER("Oslo") < WEATHER("Cairo")
    with pytest.raises(ToolError, match="'Atlantis'"):
        WEATHER("Atlantis")


def test_splits_are_deterministic_and_share_no_problem():
    splits = {split: TASK.problems(split, 0, 1000) for split in TASK.splits}
    assert all(TASK.problems(split, 0, 5) == problems[:5] for split, problems in splits.items())
    assert len({problem.question for found in splits.values() for problem in found}) == sum(map(len, splits.values()))
    assert {len(problem.extra["cities"]) for problem in splits[OUT_OF_DOMAIN]} == {3}


@pytest.mark.parametrize("split", [TRAIN, IN_DOMAIN, OUT_OF_DOMAIN])
def test_the_teacher_solves_every_problem_with_the_real_tool(split: str):
    context = BuildContext(REGISTRY, task=TASK, toolbox=Toolbox([FunctionTools([WEATHER])]))
    teacher = REGISTRY.build("teachers", ComponentSpec(use="scripted"), context)
    problems = TASK.problems(split, 0, 1000)

    async def demonstrations() -> list[Demonstration]:
        return [found async for found in teacher.demonstrate(problems)]

    shown = asyncio.run(demonstrations())
    assert all(demonstration.correct for demonstration in shown)
    assert all(set(demonstration.tools_used) == {"weather"} for demonstration in shown)


@pytest.mark.parametrize(("text", "score"), [(r"\boxed{Oslo}", 1.0), ("one two three four", 0.5), ("", 1.0)])
def test_brief_answers_score_more(text: str, score: float):
    brief = REGISTRY.build("reward_terms", ComponentSpec(use="brief", options={"words": 2}), CONTEXT)
    problem = Problem(id="p", question="?", answer="Oslo")
    said = (user("?"), assistant(text))
    trajectory = Trajectory(id="t", problem_id="p", agent="a", messages=said, ending=Ending.ANSWERED)
    assert brief.score(trajectory, problem, []) == score


def test_a_wrong_option_is_refused_before_anything_runs():
    with pytest.raises(ComponentError, match=r"did you mean 'words'\?"):
        REGISTRY.check("reward_terms", ComponentSpec(use="brief", options={"word": 2}))
