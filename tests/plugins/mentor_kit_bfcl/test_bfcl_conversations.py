"""Conversations of several turns: played with the simulated services, judged as bfcl-eval judges."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.core.agent import EpisodeLimits
from mentor_kit.core.conversation import CallState, Message, ToolCall, assistant
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.tool import announced
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.assembly import assemble_components
from mentor_kit.rollout import run_async

pytest.importorskip("bfcl_eval")

RECIPE = """
mentorkit: 1
name: bfcl
student: {model: tiny-student}
task: {use: bfcl, with: {categories: [multi_turn_base, multi_turn_miss_func, multi_turn_miss_param]}}
tools: [{use: bfcl, with: {workers: 1}}]
rollout: {max_turns: 40, max_result_tokens: 2000}
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    recipe = tmp_path_factory.mktemp("bfcl") / "bfcl.yaml"
    recipe.write_text(RECIPE)
    return assemble_components(api.check(recipe), default_registry())


class Script(Task):
    """The gold calls, but for turns that `spoil` changes."""

    calls_are_answers = True

    def __init__(self, task: Any, spoil: Any = None) -> None:
        self.task, self.spoil = task, spoil

    def problems(self, split: str, seed: int, count: int) -> Any:
        return self.task.problems(split, seed, count)

    def answer(self, trajectory: Any) -> Any:
        return self.task.answer(trajectory)

    def check(self, answer: str, problem: Problem) -> bool:
        return self.task.check(answer, problem)

    def is_over(self, problem: Problem, dialogue: Sequence[Message]) -> bool:
        return self.task.is_over(problem, dialogue)

    def next_user(self, problem: Problem, dialogue: Sequence[Message]) -> str | None:
        return self.task.next_user(problem, dialogue)

    def solve(self, problem: Problem, dialogue: Sequence[Message]) -> Message:
        turn: Message = self.task.solve(problem, dialogue)
        return self.spoil(turn) if self.spoil else turn


def played(parts: Any, problem: Problem, spoil: Any = None) -> Any:
    from mentor_kit_teachers.scripted import ScriptedTeacher

    teacher = ScriptedTeacher(Script(parts.task, spoil), parts.toolbox, EpisodeLimits(40, max_result_tokens=2000), 0)
    (trajectory,) = run_async(teacher.rollouts([problem], 1))
    return trajectory


@pytest.mark.parametrize("category", ["multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param"])
def test_gold_calls_are_right_and_others_are_not(parts: Any, category: str) -> None:
    (problem,) = parts.task.problems(category, 0, 1)
    right = played(parts, problem)
    assert right.correct
    assert [m.content for m in right.messages if m.role == "user"] == problem.extra["turns"]
    # the services' own words, not a declared-only tool's refusal
    assert all(call.state is CallState.EXECUTED for call in right.calls)
    assert "current_working_directory" in next(m.content for m in right.messages if m.role == "tool")

    def without_mkdir(turn: Message) -> Message:
        calls = tuple(call for call in turn.tool_calls if call.name != "mkdir")
        return turn.model_copy(update={"tool_calls": calls})

    assert not played(parts, problem, without_mkdir).correct
    assert not played(parts, problem, lambda turn: assistant("I will not.")).correct


def test_held_back_functions_are_told_of_in_their_turn(parts: Any) -> None:
    (problem,) = parts.task.problems("multi_turn_miss_func", 0, 1)
    tools = parts.toolbox.tools(problem)
    assert "sort" in tools
    assert "sort" not in announced(tools)
    assert set(tools) - set(announced(tools)) == {"sort"}
    (told,) = [turn for turn in problem.extra["turns"] if "updated some more functions" in turn]
    (shown,) = json.loads(told.splitlines()[0])
    assert (shown["name"], shown["parameters"]["required"]) == ("sort", ["file_name"])


def test_what_a_model_writes_is_never_evaluated(parts: Any, tmp_path: Path) -> None:
    (problem,) = parts.task.problems("multi_turn_base", 0, 1)
    trace = tmp_path / "trace"
    evil = f"__import__('pathlib').Path({str(trace)!r}).touch()"

    def with_code(turn: Message) -> Message:
        if not turn.tool_calls:
            return turn
        calls = [
            ToolCall(name="touch", arguments={"file_name": evil}),
            ToolCall(name=evil, arguments={}),
            ToolCall(name="cd", arguments={f"folder={evil}, x": "1"}),
        ]
        return assistant(calls=calls)

    found = played(parts, problem, with_code)
    assert not found.correct
    assert not trace.exists()
    assert {call.state for call in found.calls} >= {CallState.EXECUTED, CallState.UNKNOWN_TOOL}


def bfcl_verdict(problem: Problem, turns: Any) -> bool:
    """bfcl-eval's `multi_turn_checker` on the same calls, written as Python."""
    from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker

    def text(call: Any) -> str:
        return f"{call['name']}({', '.join(f'{k}={v!r}' for k, v in call['arguments'].items())})"

    gold = json.loads(problem.answer)
    if len(turns) != len(gold):
        return False
    entry = {
        "id": problem.id, "initial_config": problem.extra["state"], "involved_classes": problem.extra["services"],
    }  # fmt: skip
    written = [[[text(call) for call in step] for step in turn] for turn in turns]
    return bool(multi_turn_checker(written, gold, entry, problem.split, f"own{uuid.uuid4().hex}")["valid"])


def test_verdicts_are_those_of_the_checker() -> None:
    from bfcl_eval.eval_checker.multi_turn_eval import multi_turn_utils
    from mentor_kit_bfcl.gold import gold_turn
    from mentor_kit_bfcl.options import MULTI_TURN, BfclOptions
    from mentor_kit_bfcl.services import verdict
    from mentor_kit_bfcl.task import BfclTask

    task = BfclTask(BfclOptions(categories=MULTI_TURN))
    chance = random.Random(5)
    found = {True: 0, False: 0}
    for problem in [p for name in MULTI_TURN for p in task.problems(name, 0, 200)[:: 25 if "long" in name else 10]]:
        gold = {name: problem.extra[name] for name in ("services", "state", "long")}
        gold["gold"] = json.loads(problem.answer)
        golden = [
            [[{"name": c.name, "arguments": c.arguments}] for c in gold_turn(problem, place)]
            for place in range(len(gold["gold"]))
        ]
        versions = [golden, [[] for _ in golden], golden[:-1]]
        for _ in range(3):
            turns = json.loads(json.dumps(golden))
            turn = chance.choice(turns)
            if turn:
                chance.choice([turn.reverse, turn.pop, lambda turn=turn: turn.append(turn[0])])()
            versions.append(turns)
        for turns in versions:
            own = verdict(gold, turns, problem.id)
            assert own is bfcl_verdict(problem, turns), problem.id
            found[own] += 1
        assert verdict(gold, golden, problem.id)
    assert min(found.values()) > 20
    # nothing is kept from one verdict to the next
    assert not [name for name in vars(multi_turn_utils) if name.startswith("mentor_kit")]


def test_any_process_goes_on_with_any_episode(parts: Any) -> None:
    from mentor_kit_bfcl.services import ServiceProgram

    (problem,) = parts.task.problems("multi_turn_base", 0, 1)
    setup = {name: problem.extra[name] for name in ("services", "state", "long")}
    steps = [("cd", {"folder": "document"}), ("mkdir", {"dir_name": "temp"}), ("ls", {}), ("pwd", {})]

    def results(worlds: Sequence[ServiceProgram]) -> list[list[str]]:
        """Two episodes, whose calls take turns and go to one process after the other."""
        said: list[list[str]] = [[], []]
        for place, (name, arguments) in enumerate(steps):
            past = [{"name": n, "arguments": a} for n, a in steps[:place]]
            for episode in (0, 1):
                world = worlds[(place + episode) % len(worlds)]
                about = {"problem": setup, "episode": str(episode), "past": past}
                said[episode].append(world.call("execute", {**about, "name": name, "arguments": arguments}))
        return said

    expected = [
        {"current_working_directory": "document"},
        None,
        {"current_directory_content": ["final_report.pdf", "previous_report.pdf", "temp"]},
        {"current_working_directory": "/workspace/document"},
    ]
    for worlds in (
        [ServiceProgram()],
        [ServiceProgram(kept=1)],
        [ServiceProgram(), ServiceProgram(), ServiceProgram()],
    ):
        for said in results(worlds):
            assert [json.loads(text) if text != "None" else None for text in said] == expected


def test_episodes_of_one_problem_share_nothing(parts: Any) -> None:
    (problem,) = parts.task.problems("multi_turn_base", 0, 1)

    async def calls() -> list[str]:
        async with parts.toolbox.open(problem, 0) as first, parts.toolbox.open(problem, 0) as second:
            await first.call("cd", {"folder": "document"})
            return [await first.call("pwd", {}), await second.call("pwd", {})]

    assert [json.loads(text)["current_working_directory"] for text in run_async(calls())] == [
        "/workspace/document", "/workspace",
    ]  # fmt: skip
