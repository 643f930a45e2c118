"""BFCL end to end for scripted agents, and its verdicts beside those of bfcl-eval's own runner."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from bfcl_oracle import Oracle, text
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit import api
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest, Reply
from mentor_kit.core.conversation import Message, ToolCall, assistant
from mentor_kit.core.task import Problem
from mentor_kit.core.teacher import Teacher
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.assembly import assemble_components, assemble_without_student
from mentor_kit.rollout import run_episodes
from mentor_kit.stages import SplitPlan
from mentor_kit.stages.context import StageContext
from mentor_kit.stages.evaluate import evaluate_split

pytest.importorskip("bfcl_eval")

CATEGORIES = {"simple_python": 400, "multiple": 200, "parallel": 200, "irrelevance": 240}
RECIPE = """
mentorkit: 1
name: bfcl
student: {model: tiny-student}
task: {use: bfcl, with: {categories: [simple, multiple, parallel, irrelevance]}}
"""
Words = Callable[[Problem], Message]


class WordsSession:
    def __init__(self, said: Message) -> None:
        self.said = said

    async def respond(self, messages: Sequence[Message]) -> Reply:
        return Reply(self.said)

    def trace(self) -> None:
        return None

    def close(self) -> None:
        pass


class Scripted(Teacher):
    """An agent that says what a function of the problem gives."""

    name = "scripted"

    def __init__(self, parts: Any, words: Words) -> None:
        self.parts, self.words = parts, words

    def start(self, episode: EpisodeRequest) -> WordsSession:
        return WordsSession(self.words(episode.problem))

    def demonstrate(self, problems: Sequence[Problem]) -> Any:
        raise AssertionError("it is evaluated, not asked to demonstrate")

    async def rollouts(self, problems: Sequence[Problem], episodes: int) -> list[Trajectory]:
        tools = self.parts.toolbox
        requests = [EpisodeRequest(p.id, p, tools.tools(p), seed=0) for p in problems]
        return await run_episodes(self, requests, task=self.parts.task, toolbox=tools, limits=EpisodeLimits())


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    recipe = tmp_path_factory.mktemp("bfcl") / "bfcl.yaml"
    recipe.write_text(RECIPE)
    loaded = api.check(recipe)
    return loaded, assemble_components(loaded, default_registry())


def evaluated(parts: Any, words: Words, category: str) -> tuple[dict[str, Any], dict[str, bool]]:
    """The report, and the verdict on every problem."""
    loaded, light = parts
    experiment = assemble_without_student(loaded, default_registry(), light)
    experiment.agent = Scripted(light, words)
    context: Any = Mock(spec=StageContext)
    report, scored, _ = evaluate_split(experiment, context, SplitPlan(split=category, problems=10_000))
    return report, {item.trajectory.problem_id: item.trajectory.correct for item in scored}


def wrong(problem: Problem) -> Message:
    """Something that is wrong, another thing for each problem; where nothing should be called, a call."""
    tool = problem.tools[0]
    kinds = [
        assistant("I do not know."),
        assistant(calls=[ToolCall(name="no_such_function", arguments={"x": 1})]),
        assistant(calls=[ToolCall(name=tool.name, arguments={"no_such_parameter": 1})]),
        assistant(calls=[ToolCall(name=tool.name)] * 7),
    ]
    if problem.split == "irrelevance":
        return kinds[1 + len(problem.question) % 3]
    return kinds[len(problem.question) % 4]


@pytest.mark.parametrize(("category", "count"), CATEGORIES.items())
def test_perfect_and_wrong_agents(parts: Any, tmp_path_factory: Any, category: str, count: int) -> None:
    oracle = Oracle(str(tmp_path_factory.getbasetemp() / "oracle"), category)

    def perfect(problem: Problem) -> Message:
        said: Message = parts[1].task.solve(problem, ())
        return said

    report, verdicts = evaluated(parts, perfect, category)
    assert (report["problems"], report["sampled"]["correct"]) == (count, count)
    assert all(verdicts.values())
    assert report["sampled"]["high"] == 1.0
    report, wrongs = evaluated(parts, wrong, category)
    assert (report["problems"], report["sampled"]["correct"]) == (count, 0)
    for problem in parts[1].task.problems(category, 0, 10_000):
        assert oracle(problem.id, text(perfect(problem).tool_calls)) is True
        assert oracle(problem.id, text(wrong(problem).tool_calls)) is wrongs[problem.id]


def spoiled(problem: Problem, calls: Sequence[ToolCall], chance: random.Random) -> list[ToolCall]:
    """Gold calls with a small change, which may or may not matter."""
    found = [call.model_copy(update={"arguments": json.loads(json.dumps(call.arguments))}) for call in calls]
    if "relevance" in problem.split:
        return [ToolCall(name=problem.tools[0].name)] if chance.random() < 0.5 else []
    call = chance.choice(found)
    names = list(call.arguments)
    name = chance.choice(names) if names else ""
    value = call.arguments.get(name)
    changes: list[Any] = [
        str(value), str(value).upper(), f" {value}.", None, [value], {"a": value}, [], {}, True, 0, 1.5, -1, "", [[{}]],
    ]  # fmt: skip
    kind = chance.randrange(6)
    if kind == 0:
        call.arguments.pop(name, None)
    elif kind == 1:
        chance.shuffle(found)
    elif kind == 2:
        found.append(call)
    elif isinstance(value, int) and kind == 3:
        call.arguments[name] = float(value)
    else:
        call.arguments[name] = chance.choice(changes)
    return found


@pytest.mark.parametrize("category", [*CATEGORIES, "parallel_multiple", "live_simple", "live_relevance"])
def test_verdicts_on_spoiled_calls_are_the_runners(tmp_path_factory: Any, category: str) -> None:
    from mentor_kit_bfcl.options import BfclOptions
    from mentor_kit_bfcl.task import BfclTask

    oracle = Oracle(str(tmp_path_factory.getbasetemp() / "oracle"), category)
    task = BfclTask(BfclOptions(categories=(category,)))
    chance = random.Random(11)
    found = {True: 0, False: 0}
    for problem in task.problems(category, 0, 10_000):
        for _ in range(3):
            calls = spoiled(problem, task.solve(problem, ()).tool_calls, chance)
            turn = assistant(calls=calls)
            trajectory = Trajectory(
                id="", problem_id=problem.id, agent="", messages=(turn,), ending="answered"
            )  # fmt: skip
            answer = task.answer(trajectory)
            assert answer is not None
            try:
                expected = oracle(problem.id, text(calls))
            except (AttributeError, KeyError, TypeError, ValueError):
                expected = False  # the runner itself falls over such a value
            verdict = task.check(answer, problem)
            assert verdict is expected, (problem.id, calls)
            found[verdict] += 1
    assert min(found.values()) > 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8) | st.just("\\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_no_call_makes_a_verdict_fail(task: Any, data: st.DataObject) -> None:
    split = data.draw(st.sampled_from(task.splits[1:]))
    problem = data.draw(st.sampled_from(task.problems(split, 0, 60)))
    calls = [call.model_copy() for call in task.solve(problem, ()).tool_calls]
    for call in calls:
        for name in data.draw(st.lists(st.sampled_from([*call.arguments, "other"]), max_size=2)):
            call.arguments[name] = data.draw(JSON)
    turn = assistant(calls=calls)
    answer = task.answer(Trajectory(id="", problem_id=problem.id, agent="", messages=(turn,), ending="answered"))
    assert task.check(answer, problem) in (True, False)


@pytest.fixture(scope="module")
def task() -> Any:
    from mentor_kit_bfcl.options import COMPARED, RELEVANCE, BfclOptions
    from mentor_kit_bfcl.task import BfclTask

    return BfclTask(BfclOptions(categories=COMPARED + RELEVANCE))


def test_malformed_calls_are_what_bfcl_eval_cannot_decode() -> None:
    from mentor_kit_bfcl.options import BfclOptions
    from mentor_kit_bfcl.task import BfclTask

    from mentor_kit.core.conversation import CallState

    task = BfclTask(BfclOptions())
    broken = assistant(calls=[ToolCall(name="", state=CallState.MALFORMED, raw="<tool_call>{")])
    for category, right in (("irrelevance", True), ("simple_python", False)):
        (problem,) = task.problems(category, 0, 1)
        trajectory = Trajectory(id="", problem_id=problem.id, agent="", messages=(broken,), ending="length")
        answer = task.answer(trajectory)
        assert answer is not None
        assert task.check(answer, problem) is right


def test_a_missing_package_is_said_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mentor_kit_bfcl import package

    from mentor_kit.core.errors import MissingError
    from mentor_kit.stages import SplitPlan

    monkeypatch.setattr(package, "find_spec", lambda name: None)
    recipe = tmp_path / "bfcl.yaml"
    recipe.write_text(RECIPE)
    with pytest.raises(MissingError, match="task 'bfcl' cannot be used here: the package bfcl-eval") as caught:
        api.evaluate(recipe, agent="scripted", on=[SplitPlan(split="simple_python")], output=tmp_path)
    assert "pip install --no-deps bfcl-eval==" in str(caught.value.hint)


def test_an_unknown_category_is_said(tmp_path: Path) -> None:
    from mentor_kit.recipe.faults import RecipeFaults

    recipe = tmp_path / "bfcl.yaml"
    recipe.write_text(RECIPE.replace("[simple,", "[simpel,"))
    with pytest.raises(RecipeFaults, match="'simpel'"):
        api.check(recipe)
