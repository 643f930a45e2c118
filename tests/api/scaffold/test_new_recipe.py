"""New recipes: what the data is found to be, that the recipe is right, and that it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mentor_kit import api
from mentor_kit.api.scaffold.data_look import check_of
from mentor_kit.api.scaffold.recipe import NewRecipe, new_recipe
from mentor_kit.core.errors import DataError, MentorKitError, RecipeError, UsageError

DATA = Path(__file__).parents[3] / "recipes" / "data"
SUMS = [{"Problem": f"What is {a} + 2?", "target": a + 2, "topic": "ab"[a % 2]} for a in range(12)]
GSM8K = [{"question": f"What is {a} + 2?", "answer": f"{a} plus 2 is {a + 2}.\n#### {a + 2}"} for a in range(12)]
CAPITALS = [
    {"query": f"Capital of {land}?", "expected": city} for land, city in (("Peru", "Lima"), ("Chad", "N'Djamena"))
]
CHOICES = [{"question": f"Which, {n}?", "choices": ["one", "two"], "answer": answer} for n, answer in enumerate("AB")]
FORMULAS = [{"problem": "Halve 1.", "solution": r"$\frac{1}{2}$"}]
WORKED = [
    {"question": f"What is {a} + 2?", "answer": a + 2, "calls": [{"name": "add", "arguments": {"a": a, "b": 2}}]}
    for a in range(8)
]
SHAREGPT = [
    {
        "conversations": [
            {"from": "human", "value": f"What is {a} + 2?"},
            {"from": "function_call", "value": json.dumps({"name": "add", "arguments": {"a": a, "b": 2}})},
            {"from": "observation", "value": str(a + 2)},
            {"from": "gpt", "value": str(a + 2)},
        ],
        "tools": json.dumps([{"name": "add", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}}]),
    }
    for a in range(8)
]


def written(folder: Path, rows: Sequence[Any], name: str = "data.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def made(folder: Path, rows: Sequence[Any], **arguments: Any) -> NewRecipe:
    return new_recipe(written(folder, rows), folder=folder / "new", **arguments)


@pytest.mark.parametrize(
    ("rows", "task", "check", "columns"),
    [
        (SUMS, "rows", "number", {"question": "Problem", "answer": "target", "group": "topic"}),
        (GSM8K, "rows", "number", {"question": "question", "answer": "answer"}),
        (CAPITALS, "rows", "text", {"question": "query", "answer": "expected"}),
        (CHOICES, "rows", "choice", {"question": "question", "answer": "answer", "choices": "choices"}),
        (FORMULAS, "rows", "math", {"question": "problem", "answer": "solution"}),
        (WORKED, "rows", "number", {"question": "question", "answer": "answer", "calls": "calls"}),
        (SHAREGPT, "conversations", "calls", None),
    ],
)
def test_what_the_data_is(
    rows: Sequence[Any], task: str, check: str, columns: dict[str, str] | None, tmp_path: Path
) -> None:
    found = made(tmp_path, rows)
    assert found.look is not None
    assert (found.look.task, found.look.check, found.look.columns) == (task, check, columns)
    recipe = api.check(found.recipe).recipe
    assert recipe.task.use == task
    assert recipe.task.options["files"] == {"train": "../data.jsonl"}
    # worked solutions, and dialogues, are demonstrations
    teachers = {"rows": "scripted" if columns and "calls" in columns else None, "conversations": "recorded"}
    assert (recipe.teacher.use if recipe.teacher else None) == teachers[task]


def test_a_recipe_without_data_has_its_own(tmp_path: Path) -> None:
    found = new_recipe(folder=tmp_path / "mine")
    assert found.look is None
    assert {path.name for path in found.folder.iterdir()} == {"recipe.yaml", "train.csv", "test.csv", "tools.py"}
    assert api.check(found.recipe).recipe.name == "mine"
    # nothing refers to where it was made from: the folder can go anywhere
    shutil.move(found.folder, tmp_path / "elsewhere")
    api.check(tmp_path / "elsewhere" / "recipe.yaml")


def test_held_out_rows_are_evaluated_on(tmp_path: Path) -> None:
    test = written(tmp_path, SUMS, "test.jsonl")
    recipe = api.check(made(tmp_path, SUMS, test=test).recipe).recipe
    assert recipe.task.options["files"] == {"train": "../data.jsonl", "in-domain": "../test.jsonl"}
    assert [plan.split for plan in recipe.evaluate.on] == ["in-domain"]  # type: ignore[union-attr]


def test_another_student_has_the_usual_limits(tmp_path: Path) -> None:
    recipe = api.check(made(tmp_path, SUMS, student="owner/name").recipe).recipe
    assert (recipe.student.model, recipe.rollout.max_turn_tokens) == ("owner/name", 512)


def test_rows_that_cannot_be_used_are_left_out(tmp_path: Path) -> None:
    found = made(tmp_path, [*SUMS, {"Problem": "?", "target": None, "topic": "a"}])
    assert found.look is not None
    assert (found.look.rows, found.look.faulty) == (13, 1)
    assert api.check(found.recipe).recipe.task.options["broken"] == "skip"


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [{"frage": "2 + 2?", "antwort": {"wert": 4}}]
    with pytest.raises(DataError, match=r"frage.*antwort"):
        made(tmp_path, rows)
    found = made(tmp_path, rows, columns={"question": "frage", "answer": "antwort.wert"})
    assert found.look is not None
    assert (found.look.columns, found.look.check) == ({"question": "frage", "answer": "antwort.wert"}, "number")


@pytest.mark.parametrize(
    ("keys", "check"),
    [
        (["1", 2, "-3.5", "1,000", "2e3"], "number"),
        (["1", "two"], "text"),
        (["", "1"], "text"),
        (["1,00", "2"], "text"),
        ([["1", "2"], "3"], "number"),
        ([r"\pi"], "math"),
        (["word " * 100], "phrase"),
    ],
)
def test_how_answers_are_compared(keys: list[Any], check: str) -> None:
    assert check_of(keys) == check


@pytest.mark.parametrize(
    ("rows", "arguments", "error", "named"),
    [
        ([], {}, DataError, "no rows"),
        ([{"a": 1}], {}, DataError, "question"),
        ([{"question": "?"}], {}, DataError, "answer"),
        ([{"question": "?", "answer": None}], {}, DataError, "'answer'"),
        (SUMS, {"columns": {"answer": "targt"}}, DataError, "'target'"),
        (SUMS, {"student": "no-such-student"}, RecipeError, "'no-such-student'"),
        (SUMS, {"test": "nowhere.jsonl"}, DataError, "nowhere.jsonl"),
        ([{**WORKED[0], "calls": [{"name": "launch", "arguments": {}}]}], {}, DataError, "'launch'"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_left(
    rows: Sequence[Any], arguments: dict[str, Any], error: type[MentorKitError], named: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        made(tmp_path, rows, **arguments)
    assert named in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"data.jsonl"}


def test_nothing_is_overwritten_and_folders_are_no_data(tmp_path: Path) -> None:
    made(tmp_path, SUMS)
    for arguments in ({"data": tmp_path / "data.jsonl"}, {}):
        with pytest.raises(UsageError, match="there already"):
            new_recipe(folder=tmp_path / "new", **arguments)
    with pytest.raises(UsageError, match="is a folder"):
        new_recipe(tmp_path, folder=tmp_path / "other")
    for address in ("https://example.org/rows.jsonl", Path("https://example.org/rows.jsonl")):
        with pytest.raises(UsageError, match="is an address"):
            new_recipe(address, folder=tmp_path / "other")
    with pytest.raises(UsageError, match="no data"):
        new_recipe(test=tmp_path / "data.jsonl", folder=tmp_path / "other")


def test_rows_that_a_tiny_context_cannot_hold_are_said(tmp_path: Path) -> None:
    rows = [{"question": "word " * 1000, "answer": 1}]
    assert "tiny-student" in made(tmp_path, rows).note
    assert new_recipe(tmp_path / "data.jsonl", student="owner/name", folder=tmp_path / "other").note == ""
    (tmp_path / "more").mkdir()
    assert made(tmp_path / "more", SUMS).note == ""


@pytest.mark.slow
@pytest.mark.parametrize("rows", [SUMS, GSM8K, CAPITALS, CHOICES, FORMULAS, WORKED, SHAREGPT, None])
def test_it_runs(rows: Sequence[Any] | None, tmp_path: Path) -> None:
    found = new_recipe(folder=tmp_path / "new") if rows is None else made(tmp_path, rows)
    steps = {f"train.{index}.steps": 1 for index in range(len(api.check(found.recipe).recipe.train))}
    run = api.run(found.recipe, overrides={**steps, "evaluate.on.0.problems": 2}, output=tmp_path / "runs")
    assert [event.step for event in run.events if event.kind == "step"] == [1] * len(steps)


#: Alpaca's rows: most have an instruction alone.
ALPACA = [{"instruction": f"{a} + 2?", "input": "now" if a == 3 else "", "output": str(a + 2)} for a in range(8)]


def test_a_column_that_most_rows_leave_empty_is_not_the_question(tmp_path: Path) -> None:
    found = made(tmp_path, ALPACA)
    assert found.look is not None
    assert (found.look.columns, found.look.faulty) == ({"question": "instruction", "answer": "output"}, 0)


@pytest.mark.parametrize("test", [CAPITALS, SHAREGPT])
def test_held_out_rows_have_the_form_of_the_others(test: list[Any], tmp_path: Path) -> None:
    file = written(tmp_path, test, "test.jsonl")
    with pytest.raises(DataError, match=r"test\.jsonl"):
        made(tmp_path, SUMS, test=file)
    with pytest.raises(DataError, match=r"test\.jsonl"):
        made(tmp_path, SHAREGPT[:4], test=written(tmp_path, SUMS, "test.jsonl"))
    assert not (tmp_path / "new").exists()


def test_held_out_rows_that_cannot_be_used_are_left_out(tmp_path: Path) -> None:
    test = written(tmp_path, [*SUMS, {"Problem": "?", "target": None, "topic": "a"}], "test.jsonl")
    recipe = api.check(made(tmp_path, SUMS, test=test).recipe).recipe
    assert recipe.task.options["broken"] == "skip"


def test_what_is_wrong_is_told_without_files_that_are_gone(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        made(tmp_path, SUMS, student="nowhere")
    assert "student.model" in caught.value.message
    assert ".new-" not in str(caught.value)
    assert {fault["file"] for fault in caught.value.as_data()["faults"]} == {""}


def test_dialogues_without_calls_are_said_to_teach_grpo_nothing(tmp_path: Path) -> None:
    talk = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}] * 4
    assert "grpo" in made(tmp_path, talk).note
    shutil.rmtree(tmp_path / "new")
    assert made(tmp_path, SHAREGPT).note == ""
