"""The authors' format: problems, their tools in real processes, and demonstrations by the teacher `recorded`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import ENV, SCHEMAS, authors_row, built, parquet_file, schema

from mentor_kit.core.conversation import CallState, call
from mentor_kit.core.errors import DataError
from mentor_kit.core.task import Problem
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.rollout import run_async
from mentor_kit.rollout.tools import cut_by_characters, run_call


def task(folder: Path, *rows: dict[str, Any], **options: Any) -> Any:
    parquet_file(folder / "train.parquet", *rows)
    return built("tasks", "mentor-parquet", folder, files={"train": "train.parquet"}, check="number", **options)


def played(source: Any, problem: Problem, *calls: Any) -> list[tuple[CallState, str]]:
    toolbox = Toolbox([source])

    async def episode() -> list[tuple[CallState, str]]:
        found = []
        tools = toolbox.tools(problem)
        async with toolbox.open(problem, 1) as session:
            for one in calls:
                done, result = await run_call(one, tools, session, max_result_tokens=100, cut=cut_by_characters)
                found.append((done.state, result.content))
        return found

    return run_async(episode())


def test_a_row_is_a_problem(tmp_path: Path) -> None:
    made = task(tmp_path, authors_row(), system="Use the tools.")
    (problem,) = made.problems("train", 0, 9)
    assert (problem.id, problem.question, problem.answer) == ("train/7", "What is 2 + 3?", "5")
    assert (problem.group, problem.system) == ("math-forge", "Use the tools.")
    assert made.check("5.0", problem)


@pytest.mark.parametrize(
    "schemas",
    [
        json.dumps(SCHEMAS),
        [json.dumps(one) for one in SCHEMAS],
        SCHEMAS,
        [one["function"] for one in SCHEMAS],
        json.dumps([one["function"] for one in SCHEMAS]),
    ],
    ids=["text", "texts", "records", "bare records", "bare text"],
)
def test_its_tools_run_from_their_source(tmp_path: Path, schemas: Any) -> None:
    (problem,) = task(tmp_path, authors_row(func_schemas=schemas)).problems("train", 0, 9)
    source = built("tools", "problem-tools", tmp_path, workers=1)
    tools = {tool.name: tool for tool in source.tools(problem)}
    assert list(tools) == ["add", "hypotenuse", "calls", "zero"]
    assert tools["add"].parameters["properties"]["a"] == {"type": "number", "description": "the a"}
    assert tools["zero"].parameters["properties"] == {}
    found = played(
        source,
        problem,
        call("add", a=2, b=3),
        call("hypotenuse", a=3, b=4),
        call("zero"),
        call("calls"),
        call("add", a="two", b=3),
        call("subtract", a=1, b=2),
    )
    assert found[:4] == [
        (CallState.EXECUTED, "5"),
        (CallState.EXECUTED, "5.0"),
        (CallState.EXECUTED, "0"),
        (CallState.EXECUTED, "[]"),  # every call sees the source afresh
    ]
    assert [state for state, _ in found[4:]] == [CallState.INVALID_ARGUMENTS, CallState.UNKNOWN_TOOL]
    source.runner.close()


def test_state_lasts_for_an_episode_where_it_is_wanted(tmp_path: Path) -> None:
    (problem,) = task(tmp_path, authors_row()).problems("train", 0, 9)
    source = built("tools", "problem-tools", tmp_path, workers=1, state="episode")
    for _ in range(2):
        found = played(source, problem, call("add", a=1, b=1), call("calls"))
        assert found[1] == (CallState.EXECUTED, '["add"]')
    source.runner.close()


def test_sources_do_not_see_each_other_and_faults_are_their_own(tmp_path: Path) -> None:
    other = "def add(a, b):\n    return a * b\n"
    exits = "import os\ndef add(a, b):\n    os._exit(5)\n"
    raises = "1 / 0\ndef add(a, b):\n    return 1\n"
    only = [schema("add", a="number", b="number")]
    rows = [
        authors_row(index, env=env, func_schemas=json.dumps(only))
        for index, env in enumerate((ENV, other, exits, raises))
    ]
    parquet_file(tmp_path / "eval.parquet", *rows)
    made = built("tasks", "mentor-parquet", tmp_path, files={"in-domain": "eval.parquet"}, check="text")
    source = built("tools", "problem-tools", tmp_path, workers=1)
    results = [played(source, p, call("add", a=2, b=5))[0] for p in made.problems("in-domain", 0, 9)]
    assert results[:2] == [(CallState.EXECUTED, "7"), (CallState.EXECUTED, "10")]
    assert results[2] == (CallState.FAILED, "error: the tool ended its process (exit code 5)")
    assert results[3] == (CallState.FAILED, "error: ZeroDivisionError: division by zero")
    source.runner.close()


def test_the_recorded_teacher_finds_every_problem(tmp_path: Path) -> None:
    rows = [authors_row(1, "What is 1 + 1?", "2"), authors_row(2, "What is 2 + 2?", "4", tool_calls_used=["zero"])]
    problems = task(tmp_path, *rows).problems("train", 0, 9)
    teacher = built("teachers", "recorded", tmp_path, path="train.parquet")

    async def gather() -> dict[str, tuple[str, ...]]:
        return {found.problem_id: found.tools_used async for found in teacher.demonstrate(problems)}

    assert run_async(gather()) == {"train/1": ("add", "add"), "train/2": ("zero",)}


def test_types_of_python_and_nulls_of_parquet_are_mended(tmp_path: Path) -> None:
    properties = {"a": {"type": "float", "enum": None}, "type": {"type": "any"}}
    parameters = {"type": "dict", "required": ["a"], "properties": properties}
    odd = {"name": "add", "description": None, "parameters": parameters}
    (problem,) = task(tmp_path, authors_row(func_schemas=[odd])).problems("train", 0, 9)
    (tool,) = built("tools", "problem-tools", tmp_path, workers=1).tools(problem)
    assert tool.parameters == {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "number"}, "type": {}},
    }


def test_a_row_may_have_no_tools(tmp_path: Path) -> None:
    (problem,) = task(tmp_path, authors_row(func_schemas=None, env=None)).problems("train", 0, 9)
    assert problem.extra == {}
    assert built("tools", "problem-tools", tmp_path, workers=1).tools(problem) == ()


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"func_schemas": "{"}, "func_schemas: this is no JSON"),
        ({"func_schemas": '{"a": 1}'}, "func_schemas: expected a list"),
        ({"func_schemas": "[1]"}, "func_schemas: expected a function with a name"),
        ({"func_schemas": '[{"name": "a b"}]'}, "func_schemas: 'a b': a tool cannot be called"),
        (
            {"func_schemas": '[{"name": "add", "parameters": {"type": "objekt"}}]'},
            "func_schemas: 'add': .*no JSON schema",
        ),
        ({"func_schemas": '[{"name": "subtract"}]'}, "env: it does not define subtract"),
        ({"env": "def add(:"}, "env: this is no Python"),
        ({"env": None}, "env: expected Python source"),
        ({"index": None}, "index: expected a number or a text"),
    ],
)
def test_a_broken_row_is_named_and_fatal_or_left_out(tmp_path: Path, changes: dict[str, Any], column: str) -> None:
    with pytest.raises(DataError, match=rf"train\.parquet, row 2, column extra_info\.{column}"):
        task(tmp_path, authors_row(1), authors_row(**{"index": 2, **changes}))
    kept = task(tmp_path, authors_row(1), authors_row(**{"index": 2, **changes}), broken="skip")
    assert len(kept.problems("train", 0, 9)) == 1


def test_other_columns_are_named_too(tmp_path: Path) -> None:
    for change, column in (
        ({"question": " "}, "question"),
        ({"reward_model": {"ground_truth": None, "style": "rule"}}, "reward_model.ground_truth"),
        ({"reward_model": None}, "reward_model.ground_truth"),
        ({"extra_info": None}, "extra_info.index"),
    ):
        with pytest.raises(DataError, match=rf"row 2, column {column}"):
            task(tmp_path, authors_row(1), {**authors_row(2), **change})
