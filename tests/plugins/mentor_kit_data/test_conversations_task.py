"""The task `conversations`: problems, demonstrations, keys and verdicts from rows of dialogues."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from data_helpers import REGISTRY, built, json_lines
from published_rows import MAKERS, SUMS, TOOLS, rows

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, Message, ToolCall, ToolResult, assistant, call
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.toolbox import FunctionTools, Toolbox, check_call
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.registry import BuildContext, ComponentError


def task_of(folder: Path, *data: dict[str, Any], **options: Any) -> Task:
    json_lines(folder / "data.jsonl", *data)
    made: Task = built("tasks", "conversations", folder, **{"files": {"train": "data.jsonl"}, **options})
    return made


def in_order(task: Task) -> list[Problem]:
    """The problems in the order of their rows."""
    return sorted(task.problems("train", 0, 100), key=lambda problem: problem.extra["row"])


def demonstrations(task: Task, *problems: Problem) -> list[Demonstration]:
    context = BuildContext(REGISTRY, task=task)
    teacher = REGISTRY.build("teachers", ComponentSpec(use="recorded"), context)

    async def gather() -> list[Demonstration]:
        return [shown async for shown in teacher.demonstrate(problems)]

    return asyncio.run(gather())


def played(problem: Problem, *turns: Message, ending: Ending = Ending.ANSWERED) -> Trajectory:
    opening = problem.opening()
    return Trajectory(
        id="t", problem_id=problem.id, agent="a", messages=(*opening, *turns), opening=len(opening), ending=ending
    )


def calling(problem: Problem, *calls: ToolCall) -> Trajectory:
    """An episode whose turn has these calls, checked against the problem's tools as a rollout does."""
    tools = Toolbox().tools(problem)
    return played(problem, assistant(calls=[check_call(one, tools) for one in calls]))


@pytest.mark.parametrize("name", MAKERS)
def test_every_row_is_a_problem_with_a_right_demonstration(tmp_path: Path, name: str) -> None:
    task = task_of(tmp_path, *rows(name))
    problems = in_order(task)
    assert [problem.question for problem in problems] == [one.question for one in SUMS]
    assert len({problem.id for problem in problems}) == 10
    assert len(problems[4].history) == (0 if name == "xlam" else 2)
    for problem, one in zip(problems, SUMS, strict=True):
        assert [made["arguments"] for made in json.loads(problem.answer)] == [made["arguments"] for made in one.calls]
        shown = demonstrations(task, problem)
        if name == "xlam" and not one.calls:
            assert shown == []  # there is nothing after its question
            continue
        (demonstration,) = shown
        assert demonstration.correct
        assert demonstration.trajectory is not None
        assert demonstration.trajectory.ended
        assert demonstration.fault(set(Toolbox().tools(problem))) is None
        assert len(demonstration.tools_used) == len(one.calls)


def test_calls_are_compared_with_the_right_ones(tmp_path: Path) -> None:
    task = task_of(tmp_path, *rows("trl"))
    assert task.calls_are_answers
    problems = in_order(task)
    both, none = problems[2], problems[9]
    add, multiply = call("add", a=2, b=2), call("multiply", a=2.0, b=2)

    def right(trajectory: Trajectory, problem: Problem) -> bool:
        answer = task.answer(trajectory)
        return answer is not None and task.check(answer, problem)

    assert right(calling(both, multiply, add), both)
    assert not right(calling(both, add), both)
    assert not right(calling(both, add, add), both)
    assert right(played(none, assistant("I add.")), none)
    assert not right(calling(none, add), none)
    # what looks like a call is no answer, even where nothing is to be called
    broken = ToolCall(name="add", state=CallState.MALFORMED, raw="<tool_call>{")
    assert task.answer(played(none, assistant(calls=[broken]))) is None
    assert task.answer(played(none)) is None
    assert task.is_over(both, (*both.opening(), assistant(calls=[add])))


def test_valid_calls_count_as_tool_use_though_they_are_not_run(tmp_path: Path) -> None:
    (problem, *_) = in_order(task_of(tmp_path, *rows("trl")))
    assert calling(problem, call("add", a=0, b=2)).tools_used == ("add",)
    assert calling(problem, call("add", a="zero", b=2)).tools_used == ()
    assert calling(problem, call("divide", a=0, b=2)).tools_used == ()
    # calls of a turn that was cut off are valid, too, and were never made
    cut = calling(problem, call("add", a=0, b=2)).model_copy(update={"ending": Ending.LENGTH})
    assert cut.tools_used == ()


def test_only_the_first_turns_calls_are_compared(tmp_path: Path) -> None:
    row = rows("trl")[0]
    more = {"function": {"name": "multiply", "arguments": {"a": 1, "b": 1}}}
    row["messages"][4:4] = [{"role": "assistant", "tool_calls": [more]}, {"role": "tool", "content": "1"}]
    task = task_of(tmp_path, row)
    (problem,) = in_order(task)
    (shown,) = demonstrations(task, problem)
    assert [made["name"] for made in json.loads(problem.answer)] == ["add"]
    assert (shown.correct, shown.tools_used) == (True, ("add",))
    assert shown.trajectory is not None
    assert len(shown.trajectory.calls) == 2
    assert shown.trajectory.final_text == "It is 2."


@pytest.mark.parametrize(
    ("check", "answer", "last", "key"),
    [
        ("number", "box", r"It is \boxed{42}.", "42"),
        ("text", "text", "forty-two", "forty-two"),
    ],
)
def test_other_checks_take_the_answer_of_the_last_turn(
    tmp_path: Path, check: str, answer: str, last: str, key: str
) -> None:
    row = rows("trl")[0]
    row["messages"][-1]["content"] = last
    task = task_of(tmp_path, row, check=check, answer=answer)
    (problem,) = in_order(task)
    assert problem.answer == key
    assert not task.calls_are_answers
    (shown,) = demonstrations(task, problem)
    assert shown.correct
    assert shown.tools_used == ("add",)
    assert task.answer(played(problem, assistant(last))) == key
    assert task.check(key, problem)
    assert not task.check("41", problem)


def test_a_column_of_keys_has_precedence(tmp_path: Path) -> None:
    row = {**rows("trl")[0], "answer": 7}
    task = task_of(tmp_path, row, check="number")
    (problem,) = in_order(task)
    assert problem.answer == "7"
    (shown,) = demonstrations(task, problem)
    assert not shown.correct


def test_bound_tools_are_the_recipes(tmp_path: Path) -> None:
    def add(a: float, b: float) -> float:
        """Add."""
        return a + b

    def subtract(a: float, b: float) -> float:
        """Subtract."""
        return a - b

    toolbox = Toolbox([FunctionTools([add, subtract])])
    (bound, *_) = in_order(task_of(tmp_path, *rows("trl"), tools="bound"))
    tools = toolbox.tools(bound)
    assert list(tools) == ["add", "multiply"]
    assert tools["add"].function is add
    assert tools["multiply"].function is None

    async def work() -> Any:
        async with toolbox.open(bound, 0) as session:
            return await session.call("add", {"a": 1, "b": 2})

    assert asyncio.run(work()) == 3
    without = {key: value for key, value in rows("trl")[9].items() if key != "tools"}
    (free,) = in_order(task_of(tmp_path, without, tools="bound"))
    assert list(toolbox.tools(free)) == ["add", "subtract"]


def test_the_recorded_turns_are_played_by_the_scripted_teacher(tmp_path: Path) -> None:
    task = task_of(tmp_path, *rows("trl"))
    assert task.has_solutions
    problem = in_order(task)[4]
    opening = list(problem.opening())
    first = task.solve(problem, opening)
    assert first.tool_calls == (call("add", a=4, b=2),)
    result = Message(role="tool", content="6", result=ToolResult(name="add", content="6"))
    assert task.solve(problem, [*opening, first, result]).content == "It is 6."


def test_ids_groups_and_system_messages_are_the_rows(tmp_path: Path) -> None:
    row = rows("trl")[0]
    (problem,) = in_order(task_of(tmp_path, {**row, "id": "x-1", "group": "sums"}))
    assert (problem.id, problem.group, problem.system) == ("train/x-1", "sums", "Answer briefly.")
    problems = in_order(task_of(tmp_path, {**row, "id": "x-1"}, {**row, "id": "x-1"}))
    assert len({problem.id for problem in problems}) == 2
    (listed,) = in_order(task_of(tmp_path, rows("hermes")[0]))
    assert listed.system == ""


def test_a_table_is_read(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.Table.from_pylist(rows("trl")), tmp_path / "data.parquet")
    task = built("tasks", "conversations", tmp_path, files={"train": "data.parquet"})
    plain = task_of(tmp_path, *rows("trl"))
    assert [problem.answer for problem in in_order(task)] == [problem.answer for problem in in_order(plain)]


def test_a_data_set_is_read(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "set").mkdir()
    json_lines(tmp_path / "set" / "train.jsonl", *rows("trl"))
    task = built("tasks", "conversations", tmp_path, dataset="set", splits={"train": "train[:8]", "test": "train[8:]"})
    assert [len(task.problems(split, 0, 100)) for split in ("train", "test")] == [8, 2]
    (_, last) = task.problems("test", 0, 2)
    assert (json.loads(last.answer), last.question) == ([], "Who are you?")


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{"role": "user", "content": "?"}], "tools": TOOLS}, "nothing follows"),
    ({"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}]}, "is empty"),
    ({"messages": [{"role": "system", "content": "x"}], "tools": []}, "no user's turn"),
    ({"messages": [{"role": "user", "content": ["x", 3]}]}, "column messages.0.content.1"),
]


@pytest.mark.parametrize(("row", "said"), BROKEN)
def test_a_broken_row_is_named_or_left_out(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    data = [*rows("trl")[:2], row]
    with pytest.raises(DataError) as caught:
        task_of(tmp_path, *data)
    assert "data.jsonl, row 3" in caught.value.message
    assert said in caught.value.message
    assert len(in_order(task_of(tmp_path, *data, broken="skip"))) == 2


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"files": {}}, "with"),
        ({"dataset": "set"}, "with"),
        ({"config": "x"}, "with"),
        ({"check": "calling"}, "check"),
        ({"tools": "real"}, "tools"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any], place: str) -> None:
    with pytest.raises(ComponentError) as caught:
        task_of(tmp_path, rows("trl")[0], **options)
    assert place in {str(step) for found, _ in caught.value.faults for step in found}


def test_an_unknown_format_is_named_before_the_run(tmp_path: Path) -> None:
    json_lines(tmp_path / "data.jsonl", *rows("trl"))
    json_lines(tmp_path / "odd.jsonl", {"text": "hello"})

    def faults(**options: Any) -> list[tuple[tuple[str | int, ...], str]]:
        spec = ComponentSpec.model_validate({"use": "conversations", "with": options})
        try:
            REGISTRY.look("tasks", spec, BuildContext(REGISTRY, recipe_folder=tmp_path))
        except ComponentError as error:
            return error.faults
        return []

    assert faults(files={"train": "data.jsonl"}) == []
    ((place, text),) = faults(files={"train": "data.jsonl"}, format="tlr")
    assert (place, "trl" in text) == (("with", "format"), True)
    ((place, text),) = faults(files={"train": "odd.jsonl"})
    assert (place, "columns are text" in text) == (("with", "files", "train", 0), True)
    ((place, _),) = faults(files={"train": "absent.jsonl"})
    assert place == ("with", "files", "train", 0)
    ((place, text),) = faults(files={"train": "data.jsonl"}, format="xlam")
    assert (place, "row 1" in text) == (("with", "files", "train", 0), True)


def test_the_teacher_recorded_needs_a_file_or_recordings(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        demonstrations(built("tasks", "arithmetic", tmp_path))


def recorded_row(*calls: ToolCall, correct: bool, ok: bool = True) -> dict[str, Any]:
    """A line of demonstrations.jsonl with one turn of calls, its results, and an answer."""
    results = [ToolResult(name=one.name, content="2", ok=ok) for one in calls if one.name]
    trajectory = Trajectory(
        id="t",
        problem_id="p",
        agent="teacher",
        messages=(
            Message(role="user", content="What is 1 plus 1?"),
            assistant(calls=calls),
            *(Message(role="tool", content=result.content, result=result) for result in results),
            assistant(r"\boxed{2}"),
        ),
        ending=Ending.ANSWERED,
        correct=correct,
    )
    made: dict[str, Any] = json.loads(Demonstration.of(trajectory, teacher="teacher").to_json())
    return made


def test_own_records_are_problems_too(tmp_path: Path) -> None:
    add = call("add", a=1, b=1).at(CallState.EXECUTED)
    task = task_of(tmp_path, recorded_row(add, correct=True), tools="bound")
    (problem,) = in_order(task)
    assert json.loads(problem.answer) == [{"name": "add", "arguments": {"a": 1, "b": 1}}]
    task = task_of(tmp_path, recorded_row(add, correct=True), tools="bound", check="number")
    (problem,) = in_order(task)
    (shown,) = demonstrations(task, problem)
    assert (problem.answer, shown.correct, shown.tools_used) == ("2", True, ("add",))


def test_a_failed_call_is_no_tool_use(tmp_path: Path) -> None:
    failed = call("add", a=1, b="one").at(CallState.FAILED, "2")
    task = task_of(tmp_path, recorded_row(failed, correct=True, ok=False), tools="bound", check="number")
    (problem,) = in_order(task)
    (shown,) = demonstrations(task, problem)
    assert shown.tools_used == ()
    assert shown.trajectory is not None
    assert [made.state for made in shown.trajectory.calls] == [CallState.FAILED]


@pytest.mark.parametrize("check", ["calls", "number"])
def test_what_is_said_to_be_wrong_is_no_key(tmp_path: Path, check: str) -> None:
    row = recorded_row(call("add", a=1, b=1).at(CallState.EXECUTED), correct=False)
    with pytest.raises(DataError, match="wrong"):
        task_of(tmp_path, row, tools="bound", check=check)


def test_malformed_calls_are_not_the_right_ones(tmp_path: Path) -> None:
    broken = ToolCall(state=CallState.MALFORMED, raw="<tool_call>{", error="malformed call: it ends")
    with pytest.raises(DataError, match="malformed"):
        task_of(tmp_path, recorded_row(broken, correct=True), tools="bound")


def test_a_file_without_rows_is_named_before_a_run(tmp_path: Path) -> None:
    json_lines(tmp_path / "data.jsonl", *rows("trl"))
    json_lines(tmp_path / "none.jsonl")
    context = BuildContext(REGISTRY, recipe_folder=tmp_path)

    def look(*files: str) -> None:
        REGISTRY.look("tasks", ComponentSpec(use="conversations", options={"files": {"train": files}}), context)

    look("none.jsonl", "data.jsonl")
    with pytest.raises(ComponentError) as caught:
        look("none.jsonl")
    assert [place for place, _ in caught.value.faults] == [("with", "files", "train", 0)]
