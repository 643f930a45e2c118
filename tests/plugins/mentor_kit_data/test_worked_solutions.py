"""The column `calls`: worked solutions of rows, which the teacher `scripted` plays with the real tools."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from data_helpers import REGISTRY, built, json_lines, parquet_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.task import TRAIN
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.core.trajectory import Ending
from mentor_kit.hooks.registry import BuildContext
from mentor_kit.rollout import run_async

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
TIMES = {"name": "times", "arguments": {"a": 3, "b": 4}}
PLAYED: list[tuple[str, float, float]] = []


def add(a: float, b: float) -> float:
    """Add two numbers."""
    PLAYED.append(("add", a, b))
    return a + b


def times(a: float, b: float) -> float:
    """Multiply two numbers."""
    PLAYED.append(("times", a, b))
    return a * b


def divide(a: float, b: float) -> float:
    """Divide two numbers."""
    return a / b


def task_of(folder: Path, *calls: Any, **options: Any) -> Any:
    json_lines(
        folder / "train.jsonl", *[{"question": f"{n}?", "answer": n, "calls": row} for n, row in enumerate(calls)]
    )
    columns = {"calls": "calls", **options.pop("columns", {})}
    return built("tasks", "rows", folder, files={"train": "train.jsonl"}, columns=columns, **options)


def demonstrations(task: Any) -> list[Demonstration]:
    toolbox = Toolbox([FunctionTools([add, times, divide])])
    context = BuildContext(REGISTRY, task=task, toolbox=toolbox)
    teacher = REGISTRY.build("teachers", ComponentSpec(use="scripted"), context)
    problems = sorted(task.problems(TRAIN, 0, 100), key=lambda problem: problem.id)

    async def gather() -> list[Demonstration]:
        return [found async for found in teacher.demonstrate(problems)]

    return run_async(gather())


def test_calls_are_played_and_the_key_is_the_answer(tmp_path: Path) -> None:
    PLAYED.clear()
    first, second = demonstrations(task_of(tmp_path, [ADD, TIMES], []))
    assert PLAYED == [("add", 1, 2), ("times", 3, 4)]
    assert first.trajectory is not None
    assert second.trajectory is not None
    assert [m.role for m in first.trajectory.messages] == ["user", *["assistant", "tool"] * 2, "assistant"]
    assert [m.content for m in first.trajectory.messages if m.role == "tool"] == ["3", "12"]
    assert [call.state for call in first.trajectory.calls] == [CallState.EXECUTED] * 2
    assert (first.tools_used, first.correct, first.trajectory.answer) == (("add", "times"), True, "0")
    assert (second.tools_used, second.correct, second.trajectory.final_text) == ((), True, r"\boxed{1}")


@pytest.mark.parametrize(
    "calls",
    [
        [ADD, TIMES],
        [[ADD], [TIMES]],
        json.dumps([ADD, TIMES]),
        [json.dumps(ADD), json.dumps(TIMES)],
        [{**ADD, "arguments": json.dumps(ADD["arguments"])}, TIMES],
        [{"type": "function", "id": "1", "function": {**ADD, "arguments": '{"a": 1, "b": 2}'}}, {"function": TIMES}],
    ],
)
def test_a_list_of_calls_in_every_form(tmp_path: Path, calls: Any) -> None:
    PLAYED.clear()
    (found,) = demonstrations(task_of(tmp_path, calls))
    assert PLAYED == [("add", 1, 2), ("times", 3, 4)]
    assert found.trajectory is not None
    assert [len(turn.tool_calls) for turn in found.trajectory.turns] == [1, 1, 0]


def test_a_list_within_the_list_is_one_turn(tmp_path: Path) -> None:
    (found,) = demonstrations(task_of(tmp_path, [[ADD, TIMES], ADD]))
    assert found.trajectory is not None
    assert [len(turn.tool_calls) for turn in found.trajectory.turns] == [2, 1, 0]
    assert [m.content for m in found.trajectory.messages if m.role == "tool"] == ["3", "12", "3"]


def test_the_answer_is_the_whole_turn_where_the_task_takes_it_so(tmp_path: Path) -> None:
    (found,) = demonstrations(task_of(tmp_path, [ADD], answer="text", check="text"))
    assert found.trajectory is not None
    assert (found.trajectory.final_text, found.correct) == ("0", True)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"name": "divide", "arguments": {"a": 1, "b": 0}}, "ZeroDivisionError"),
        ({"name": "subtract", "arguments": {}}, "'subtract'"),
        ({"name": "add", "arguments": {"a": 1}}, "'b'"),
    ],
)
def test_a_call_that_fails_is_an_error_with_row_and_column(tmp_path: Path, call: Any, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        demonstrations(task_of(tmp_path, [ADD], [ADD, call]))
    assert f"{tmp_path / 'train.jsonl'}, row 2, column calls: call 2, {call['name']}(" in caught.value.message
    assert reason in caught.value.message
    assert "broken: skip" in (caught.value.hint or "")


def test_a_row_whose_call_fails_is_left_out_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = {"name": "divide", "arguments": {"a": 1, "b": 0}}
    task = task_of(tmp_path, [ADD], [broken], [TIMES], broken="skip")
    with caplog.at_level(logging.WARNING):
        found = demonstrations(task)
    assert [demonstration.tools_used for demonstration in found] == [("add",), ("times",)]
    assert [record.message.count("row 2, column calls") for record in caplog.records] == [1]


def test_a_teacher_names_a_problem_once_and_its_rollout_says_why_it_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = task_of(tmp_path, [{"name": "divide", "arguments": {"a": 1, "b": 0}}], broken="skip")
    context = BuildContext(REGISTRY, task=task, toolbox=Toolbox([FunctionTools([divide])]))
    teacher = REGISTRY.build("teachers", ComponentSpec(use="scripted"), context)
    problems = task.problems(TRAIN, 0, 1)

    async def twice() -> list[Demonstration]:
        return [found for _ in range(2) async for found in teacher.demonstrate(problems)]

    assert run_async(twice()) == []
    assert len(caplog.records) == 1
    (trajectory,) = run_async(teacher.rollouts(problems, 1))
    assert (trajectory.ending, trajectory.correct) == (Ending.REFUSED, False)
    assert "row 1, column calls" in trajectory.reason


@pytest.mark.parametrize(
    "calls",
    [
        None,
        7,
        "add(1, 2)",
        {"name": "add"},
        [7],
        [[]],
        [{"arguments": {}}],
        [{"name": ""}],
        [{**ADD, "arguments": [1]}],
    ],
)
def test_a_column_of_something_else_is_a_broken_row(tmp_path: Path, calls: Any) -> None:
    with pytest.raises(DataError, match="row 1, column calls: "):
        task_of(tmp_path, calls)
    with pytest.raises(DataError, match="no problems"):
        task_of(tmp_path, calls, broken="skip")


def test_the_column_may_be_a_key_of_another(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", {"question": "?", "answer": 1, "solution": {"calls": [ADD]}})
    task = built("tasks", "rows", tmp_path, files={"train": "a.jsonl"}, columns={"calls": "solution.calls"})
    assert demonstrations(task)[0].tools_used == ("add",)


def test_parquet_with_calls_of_one_tool(tmp_path: Path) -> None:
    parquet_file(tmp_path / "a.parquet", {"question": "?", "answer": 3, "calls": [ADD]})
    task = built("tasks", "rows", tmp_path, files={"train": "a.parquet"}, columns={"calls": "calls"})
    assert demonstrations(task)[0].tools_used == ("add",)


def test_rows_without_the_column_have_no_solutions(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", {"question": "?", "answer": 1, "calls": [ADD]})
    task = built("tasks", "rows", tmp_path, files={"train": "a.jsonl"})
    assert not task.has_solutions
    with pytest.raises(UsageError) as caught:
        demonstrations(task)
    assert "columns: {calls: calls}" in (caught.value.hint or "")


ARGUMENTS = st.dictionaries(st.sampled_from("ab"), st.integers(-9, 9), min_size=2)
CALL = st.builds(
    lambda name, arguments: {"name": name, "arguments": arguments}, st.sampled_from(["add", "times"]), ARGUMENTS
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.lists(CALL, min_size=1, max_size=3), max_size=4))
def test_every_call_is_played_once_in_order(tmp_path: Path, turns: list[list[dict[str, Any]]]) -> None:
    PLAYED.clear()
    (found,) = demonstrations(task_of(tmp_path, turns))
    assert [(name, {"a": a, "b": b}) for name, a, b in PLAYED] == [
        (call["name"], call["arguments"]) for turn in turns for call in turn
    ]
    assert found.trajectory is not None
    assert [[call.name for call in turn.tool_calls] for turn in found.trajectory.turns[:-1]] == [
        [call["name"] for call in turn] for turn in turns
    ]
