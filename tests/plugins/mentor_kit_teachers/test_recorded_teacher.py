from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import CallState, assistant, call, user
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError, ExitCode, MentorKitError, MissingError
from mentor_kit.core.task import TRAIN, Problem, Task, boxed_answer
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit.hooks.loader import load_plugins
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.rollout import run_async

REGISTRY = Registry(load_plugins())
FIRST = Problem(id="p1", question="What is 2 + 3?", answer="5")
SECOND = Problem(id="p2", question="What is 7 - 3?", answer="4")


def demonstration(problem: Problem, *tools: str, whole: bool = True) -> Demonstration:
    if not whole:
        return Demonstration(problem_id=problem.id, teacher="gpt", tools_used=tools)
    calls = [call(name).at(CallState.EXECUTED) for name in tools]
    trajectory = Trajectory(
        id="t",
        problem_id=problem.id,
        agent="gpt",
        messages=(user(problem.question), assistant(calls=calls), assistant(rf"\boxed{{{problem.answer}}}")),
        ending=Ending.ANSWERED,
        answer=problem.answer,
        correct=True,
    )
    return Demonstration.of(trajectory, teacher="gpt")


def teacher(path: Path, folder: Path | None = None) -> Any:
    spec = ComponentSpec.model_validate({"use": "recorded", "with": {"path": str(path)}})
    return REGISTRY.build("teachers", spec, BuildContext(REGISTRY, recipe_folder=folder or Path("/")))


def shown(path: Path, *problems: Problem) -> list[Demonstration]:
    built = teacher(path)

    async def gather() -> list[Demonstration]:
        return [found async for found in built.demonstrate(problems)]

    return run_async(gather())


def lines(path: Path, *demonstrations: Demonstration) -> Path:
    path.write_text("".join(d.to_json() + "\n" for d in demonstrations), encoding="utf-8")
    return path


def row(**changes: Any) -> dict[str, Any]:
    """A row as the authors write it."""
    plain: dict[str, Any] = {
        "question": FIRST.question,
        "data_source": "math-forge",
        "reward_model": {"ground_truth": "5", "style": "rule"},
        "extra_info": {
            "func_schemas": "[]",
            "env": "def add(): ...",
            "tool_calls_used": ["add", "add"],
            "index": 7,
        },
    }
    extra = {**plain["extra_info"], **changes.pop("extra_info", {})}
    return {**plain, "extra_info": extra, **changes}


def parquet(path: Path, *rows: dict[str, Any]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


class Numbers(Task):
    """A task whose answer is the box's content, compared as `check` says."""

    splits = (TRAIN,)

    def __init__(self, check: Callable[[str, str], bool] = str.__eq__) -> None:
        self._check = check

    def problems(self, split: str, seed: int, count: int) -> Sequence[Problem]:
        return [FIRST, SECOND][:count]

    def answer(self, trajectory: Trajectory) -> str | None:
        return boxed_answer(trajectory.final_text)

    def check(self, answer: str, problem: Problem) -> bool:
        return self._check(answer, str(problem.answer))


def judged(path: Path, task: Numbers, *problems: Problem) -> tuple[list[Demonstration], dict[str, Any]]:
    spec = ComponentSpec.model_validate({"use": "recorded", "with": {"path": str(path)}})
    built: Any = REGISTRY.build("teachers", spec, BuildContext(REGISTRY, recipe_folder=Path("/"), task=task))

    async def gather() -> list[Demonstration]:
        return [found async for found in built.demonstrate(problems)]

    return run_async(gather()), built.account()


def test_the_key_of_now_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = lines(tmp_path / "d.jsonl", demonstration(FIRST, "add"), demonstration(SECOND, "add"))
    mended = FIRST.model_copy(update={"answer": "6"})
    found, account = judged(file, Numbers(), mended, SECOND)
    assert [d.correct for d in found] == [False, True]
    assert [d.trajectory.correct for d in found if d.trajectory] == [False, True]
    assert [d.provenance.get("recorded_as") for d in found] == ["right", None]
    assert account == {"judged_anew": 2, "now_wrong": 1}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_the_check_of_now_decides_both_ways(tmp_path: Path) -> None:
    wrong = demonstration(FIRST)
    assert wrong.trajectory is not None
    said = wrong.trajectory.model_copy(update={"correct": False, "messages": (user("q"), assistant(r"\boxed{5.0}"))})
    line = wrong.model_copy(update={"correct": False, "trajectory": said})
    file = lines(tmp_path / "d.jsonl", line.model_copy(update={"trajectory": said}))
    asked = FIRST.model_copy(update={"question": "q"})
    assert judged(file, Numbers(), asked)[0][0].correct is False
    (found,), account = judged(file, Numbers(lambda a, b: float(a) == float(b)), asked)
    assert (found.correct, found.trajectory.answer if found.trajectory else None) == (True, "5.0")
    assert account == {"judged_anew": 1, "now_right": 1}


@pytest.mark.parametrize(
    ("last", "ending", "answer", "right"),
    [
        (r"\boxed{5}", Ending.ANSWERED, "9", True),  # what was said goes before what was noted
        ("It is five.", Ending.ANSWERED, "5", False),  # no answer in the words, by the task of now
        ("", Ending.ANSWERED, "5", True),  # nothing was kept but the answer
        ("", Ending.ANSWERED, None, False),
        (r"\boxed{5}", Ending.LENGTH, "5", False),
        ("", Ending.MAX_TURNS, "5", False),
    ],
)
def test_what_is_judged(tmp_path: Path, last: str, ending: Ending, answer: str | None, right: bool) -> None:
    made = demonstration(FIRST)
    assert made.trajectory is not None
    messages = (user(FIRST.question), assistant(last))
    trajectory = made.trajectory.model_copy(update={"messages": messages, "ending": ending, "answer": answer})
    (found,), _ = judged(lines(tmp_path / "d", made.model_copy(update={"trajectory": trajectory})), Numbers(), FIRST)
    assert found.correct is right


def test_names_alone_cannot_be_judged(tmp_path: Path) -> None:
    file = lines(tmp_path / "d.jsonl", demonstration(FIRST, "add", whole=False))
    (found,), account = judged(file, Numbers(), FIRST.model_copy(update={"answer": "6"}))
    assert found.correct
    assert account == {"judged_anew": 0}


def test_our_own_lines_are_matched_by_id(tmp_path: Path) -> None:
    file = lines(tmp_path / "d.jsonl", demonstration(SECOND, "subtract"), demonstration(FIRST, "add", "add"))
    placed = {"provenance": {"file": "d.jsonl", "line": 2}}
    assert shown(file, FIRST) == [demonstration(FIRST, "add", "add").model_copy(update=placed)]
    assert shown(file, FIRST, SECOND)[1].tools_used == ("subtract",)


def test_several_of_a_problem_come_in_the_files_order(tmp_path: Path) -> None:
    file = lines(tmp_path / "d.jsonl", demonstration(FIRST, "b"), demonstration(SECOND, "c"), demonstration(FIRST, "a"))
    assert [d.tools_used for d in shown(file, FIRST)] == [("b",), ("a",)]


def test_else_by_question_under_the_tasks_own_id(tmp_path: Path) -> None:
    file = lines(tmp_path / "d.jsonl", demonstration(FIRST, "add"))
    moved = FIRST.model_copy(update={"id": "elsewhere", "question": "What is\n 2 + 3? "})
    (found,) = shown(file, moved)
    assert found.problem_id == "elsewhere"
    assert found.trajectory is not None
    assert found.trajectory.problem_id == "elsewhere"


def test_problems_without_a_recording_get_none(tmp_path: Path) -> None:
    assert shown(lines(tmp_path / "d.jsonl", demonstration(FIRST)), SECOND) == []


def test_an_id_recorded_for_another_question_is_an_error(tmp_path: Path) -> None:
    file = lines(tmp_path / "d.jsonl", demonstration(SECOND), demonstration(FIRST))
    other = FIRST.model_copy(update={"question": "What is 9 + 9?"})
    with pytest.raises(DataError, match=r"d\.jsonl:2: .*'p1'"):
        shown(file, other)


def test_messages_name_the_line_that_is_read_now(tmp_path: Path) -> None:
    """Blank lines count; a place from before, in the file or row that it was collected from, does not."""
    moved = demonstration(SECOND).model_copy(update={"provenance": {"file": "train.parquet", "row": 9, "cost": 2}})
    text = f"\n{demonstration(FIRST, whole=False).to_json()}\r\n\n{moved.to_json()}"
    (tmp_path / "run").mkdir()
    for file, name in ((tmp_path / "d.jsonl", "d.jsonl"), (tmp_path / "run" / "demonstrations.jsonl", "run")):
        file.write_bytes(text.encode())
        path, name = (file, name) if name == "d.jsonl" else (file.parent, "run/demonstrations.jsonl")
        first, second = shown(path, FIRST, SECOND)
        assert first.label.endswith(f"({name}:2)")
        assert second.label.endswith(f"({name}:4)")
        assert second.provenance["cost"] == 2


def test_a_parquet_row_is_named_as_a_row(tmp_path: Path) -> None:
    assert shown(parquet(tmp_path / "t.parquet", row()), FIRST)[0].label.endswith("(t.parquet, row 1)")


def test_what_none_of_the_problems_asks_for_is_counted_and_placed(tmp_path: Path) -> None:
    others = [Problem(id=f"o{n}", question=f"Other {n}?", answer="1") for n in range(4)]
    renamed = SECOND.model_copy(update={"id": "elsewhere"})
    file = lines(tmp_path / "d.jsonl", *map(demonstration, (others[0], FIRST, renamed, *others[1:])))
    built = teacher(file)
    assert built.unasked([FIRST, SECOND, *others]) is None  # one by its question
    one = built.unasked([FIRST, SECOND, *others[1:]])
    assert one.startswith("1 of 6 ")
    assert f"({file}:1)" in one
    many = built.unasked([FIRST])
    assert many.startswith("5 of 6 ")
    assert f"({file}:1, {file}:3, {file}:4, ...)" in many
    assert built.unasked([FIRST.model_copy(update={"question": "Another?"})]).startswith("6 of 6 ")


def test_names_alone_are_matched_by_id(tmp_path: Path) -> None:
    file = lines(tmp_path / "d.jsonl", demonstration(FIRST, "add", whole=False))
    assert shown(file, FIRST)[0].trajectory is None


def test_a_path_is_relative_to_the_recipe_and_may_be_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    lines(tmp_path / "run" / "demonstrations.jsonl", demonstration(FIRST, "add"))
    assert teacher(Path("run"), folder=tmp_path).name == "recorded"


def test_the_authors_parquet_is_read_as_it_is(tmp_path: Path) -> None:
    second = row(question=SECOND.question, extra_info={"tool_calls_used": [], "index": 8})
    file = parquet(tmp_path / "train.parquet", row(), second)
    first_shown, second_shown = shown(file, FIRST, SECOND)
    assert (first_shown.problem_id, first_shown.tools_used, first_shown.correct) == ("p1", ("add", "add"), True)
    assert first_shown.trajectory is None
    assert first_shown.provenance == {"file": "train.parquet", "row": 1, "data_source": "math-forge"}
    assert second_shown.tools_used == ()


def test_parquet_is_known_by_its_content_and_by_its_index(tmp_path: Path) -> None:
    file = parquet(tmp_path / "data.bin", row())
    assert shown(file, FIRST.model_copy(update={"id": "7"}))[0].problem_id == "7"


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"question": ""}, "question"),
        ({"question": None}, "question"),
        ({"extra_info": {"tool_calls_used": None}}, r"extra_info\.tool_calls_used"),
        ({"extra_info": {"tool_calls_used": ["add", None]}}, r"extra_info\.tool_calls_used"),
        ({"extra_info": {"index": None}}, r"extra_info\.index"),
    ],
)
def test_a_broken_parquet_row_is_named(tmp_path: Path, changes: dict[str, Any], column: str) -> None:
    file = parquet(tmp_path / "train.parquet", row(), row(**changes))
    with pytest.raises(DataError, match=rf"train\.parquet, row 2, column {column}: expected"):
        teacher(file)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    bare = {"question": "?", "data_source": "x"}
    with pytest.raises(DataError, match=r"'extra_info'.* question, data_source"):
        teacher(parquet(tmp_path / "t.parquet", bare))
    with pytest.raises(DataError, match=r"row 1, column extra_info: .*'x'"):
        teacher(parquet(tmp_path / "t.parquet", {**bare, "extra_info": "x"}))
    with pytest.raises(DataError, match=r"row 1, column extra_info\.tool_calls_used: .*None"):
        teacher(parquet(tmp_path / "t.parquet", {**bare, "extra_info": {"index": 1}}))


def test_a_torn_parquet_file_is_one_clear_error(tmp_path: Path) -> None:
    file = parquet(tmp_path / "t.parquet", row())
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t\.parquet"):
        teacher(file)


def test_without_pyarrow_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = parquet(tmp_path / "t.parquet", row())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingError) as caught:
        teacher(file)
    assert caught.value.hint == "pip install 'mentor-kit[data]'"
    assert caught.value.exit_code is ExitCode.MISSING


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "column the whole line"),
        ('{"problem_id": "p", "teacher": "t"}', "column tools_used"),
        ('{"problem_id": 3, "teacher": "t", "tools_used": []}', "column problem_id"),
        ('{"problem_id": "p", "teacher": "t", "tools_used": [], "new": 1}', "column new"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text(demonstration(FIRST).to_json() + "\n\n" + text + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"d\.jsonl:3, {fault}"):
        teacher(file)


def test_a_missing_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        teacher(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="holds no demonstrations"):
        teacher(tmp_path / "empty.jsonl")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: b"PAR1" + tail))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any"
    file.write_bytes(content)
    with pytest.raises(MentorKitError, match="any"):
        teacher(file)
