"""Keys that nothing can match are found when they are read, in every task, with the option that would help."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_helpers import authors_row, built, csv_file, json_lines, parquet_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentor_kit.core.errors import DataError
from mentor_kit.core.task import boxed_answer

GSM = "She has 2 + 2 = <<2+2=4>>4.\n#### 4"
CHOICES = {"columns": {"choices": "choices"}, "check": "choice"}


def rows(folder: Path, *values: Any, **options: Any) -> Any:
    json_lines(folder / "a.jsonl", *values)
    return built("tasks", "rows", folder, files={"train": "a.jsonl"}, **options)


def row(answer: Any, *choices: str) -> dict[str, Any]:
    return {"question": "?", "answer": answer, **({"choices": choices} if choices else {})}


@pytest.mark.parametrize(
    ("key", "options", "help_with"),
    [
        (GSM, {}, "answer_pattern: '#### (.*)'"),
        (GSM, {"check": "math"}, "answer_pattern: '#### (.*)'"),
        (GSM, {"check": "text"}, "answer_pattern: '#### (.*)'"),
        (r"So it is \boxed{4}.", {}, r"answer_pattern: '\\boxed"),
        (r"So it is \boxed{4}.", {"check": "text"}, r"answer_pattern: '\\boxed"),
        (r"So it is \boxed{4}.", {"check": "math"}, r"answer_pattern: '\\boxed"),
        ("B", {}, "check: choice"),
        ("(c)", {}, "check: choice"),
        ("18 dollars", {}, "answer_pattern"),
        ("18 dollars", {}, "check: text"),
        ("$ 1,23", {}, "check: text"),
        (r"\frac{1}{\sqrt 2}", {}, "check: math"),
        ("x^2", {}, "check: math"),
        ("Paris", {}, "check: text"),
        ("nan", {}, "broken: skip"),
        ("None", {"check": "math"}, "broken: skip"),
        ("1e99999", {}, "check: text"),
        ("9" * 5000, {"check": "math"}, "answer_pattern"),
        ("a}b", {"check": "text"}, "answer: text"),
        ("{", {"check": "phrase"}, "answer: text"),
        ("Rome", {"check": "choice"}, "columns: {choices"),
        ("1", {"check": "choice"}, "columns: {choices"),
        (float("nan"), {}, "broken: skip"),
        (float("inf"), {"check": "text"}, "broken: skip"),
        ({"value": 4}, {}, "answer.value"),
        (True, {"check": "text"}, "words"),
        ([["4"]], {}, "broken: skip"),
    ],
)
def test_a_key_that_nothing_matches_is_a_broken_row(tmp_path: Path, key: Any, options: Any, help_with: str) -> None:
    good = row("A" if options.get("check") == "choice" else "4")
    with pytest.raises(DataError, match=r"a\.jsonl, row 2, column answer: ") as caught:
        rows(tmp_path, good, row(key), **options)
    assert help_with in (caught.value.hint or "")
    assert "broken: skip" in (caught.value.hint or "")
    task = rows(tmp_path, good, row(key), broken="skip", **options)
    assert [problem.answer for problem in task.problems("train", 0, 9)] == [good["answer"]]


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("E", ["a", "b"]),
        ("zzz", ["a", "b"]),
        ("x", ["x", "X "]),  # the text of two
        ("A", ["B", "A"]),  # a letter, and the text of another choice
        ("b", ["b", "c", "d"]),
        (2, ["a", "b"]),
        (-1, ["a", "b"]),
        (0.5, ["a", "b"]),
        ("B: a", ["a", "b"]),
    ],
)
def test_a_choice_that_is_not_offered_or_not_clear(tmp_path: Path, key: Any, choices: list[str]) -> None:
    with pytest.raises(DataError, match=r"row 1, column answer"):
        rows(tmp_path, row(key, *choices), **CHOICES)


@pytest.mark.parametrize(
    ("key", "letter"), [("A", "A"), ("b", "B"), ("(B)", "B"), ("Rome", "B"), (1, "B"), (1.0, "B"), ("B: Rome", "B")]
)
def test_choices_in_every_writing_are_keys(tmp_path: Path, key: Any, letter: str) -> None:
    task = rows(tmp_path, row(key, "Paris", "Rome"), **CHOICES)
    (problem,) = task.problems("train", 0, 9)
    assert [answer for answer in "AB" if task.check(answer, problem)] == [letter]


def test_choices_that_are_letters_go_by_their_index(tmp_path: Path) -> None:
    task = rows(tmp_path, row(0, "B", "A"), **CHOICES)
    (problem,) = task.problems("train", 0, 9)
    assert task.check("A", problem)
    assert not task.check("B", problem)


@pytest.mark.parametrize(
    ("key", "options", "answer"),
    [
        ("1,234", {}, "1234"),
        (4, {}, "4"),
        (4.0, {"check": "text"}, "4"),
        (0.5, {}, "1/2"),
        (2**60, {}, str(2**60)),
        (GSM, {"answer_pattern": "#### (.*)"}, "4"),
        (["4", "four"], {"check": "text"}, "Four"),
        ("18 dollars", {"check": "math"}, "18"),
        ("18 dollars", {"answer_pattern": r"([-+]?[\d.,]+)"}, "18"),
        (r"\boxed{4}", {"answer_pattern": r"\\boxed\{(.*)\}"}, "4"),
        ("no value", {"check": "text"}, "No value"),
        ("a}b", {"check": "text", "answer": "text"}, "A}b"),
    ],
)
def test_keys_that_can_be_met(tmp_path: Path, key: Any, options: Any, answer: str) -> None:
    task = rows(tmp_path, row(key), **options)
    (problem,) = task.problems("train", 0, 9)
    assert task.check(answer, problem)
    task.close()


ANY_KEY = st.one_of(
    st.text(max_size=12), st.integers(-999, 999), st.floats(), st.booleans(), st.none(),
    st.lists(st.text(max_size=3), max_size=2),
    st.sampled_from(["A", "b", "(C)", "18 dollars", "$-5", r"\frac{1}{2}", r"\boxed{1}", GSM, "nan", "½", "{", "}"]),
)  # fmt: skip


KINDS = ["number", "text", "phrase", "choice"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(ANY_KEY, min_size=1, max_size=4), st.sampled_from(["number", "text", "phrase", "choice"]), st.booleans()
)
def test_every_key_that_is_taken_is_right_in_a_box(tmp_path: Path, keys: list[Any], check: str, offered: bool) -> None:
    choices = ["one", "18 dollars", "c"] if offered else []
    options: dict[str, Any] = {"columns": {"choices": "choices"}} if offered else {}
    try:
        task = rows(tmp_path, *[row(key, *choices) for key in keys], check=check, broken="skip", **options)
    except DataError as error:
        assert "has no problems" in error.message  # noqa: PT017
        return
    for problem in task.problems("train", 0, 99):
        assert any(
            (boxed := boxed_answer(rf"\boxed{{{key}}}")) is not None and task.check(boxed, problem)
            for key in problem.extra.get("keys") or [problem.answer]
        )


def test_the_authors_keys(tmp_path: Path) -> None:
    for truth, options in [(GSM, {}), ("18 dollars", {"check": "number"}), ("NaN", {}), ("B", {"check": "number"})]:
        parquet_file(tmp_path / "a.parquet", authors_row(truth=truth))
        with pytest.raises(DataError, match=r"row 1, column reward_model\.ground_truth"):
            built("tasks", "mentor-parquet", tmp_path, files={"train": "a.parquet"}, **options)


def test_keys_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    json_lines(tmp_path / "set" / "train.jsonl", row(GSM))
    with pytest.raises(DataError, match=r"row 1, column answer") as caught:
        built("tasks", "datasets", tmp_path, dataset="set")
    assert "answer_pattern" in (caught.value.hint or "")
    with pytest.raises(DataError, match=r"'train'.*'in-domain'") as caught:
        built("tasks", "datasets", tmp_path, dataset="set", splits={"train": "train", "in-domain": "train"})
    assert "train[90%:]" in (caught.value.hint or "")


def test_pandas_tables_with_missing_values(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table({"question": ["a", "b", "c"], "answer": pa.array([1.0, float("nan"), 3.0])})
    pq.write_table(table, tmp_path / "a.parquet")
    task = built("tasks", "rows", tmp_path, files={"train": "a.parquet"}, broken="skip")
    assert sorted(problem.answer for problem in task.problems("train", 0, 9)) == ["1", "3"]
    csv_file(tmp_path / "a.csv", ["question", "answer"], ["a", "1"], ["b", "NaN"])
    with pytest.raises(DataError, match=r"a\.csv, row 3, column answer: "):
        built("tasks", "rows", tmp_path, files={"train": "a.csv"})


def test_many_broken_rows_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = [row("4"), *[row("no number") for _ in range(500)]]
    with caplog.at_level(logging.WARNING):
        rows(tmp_path, *values, broken="skip")
    assert len(caplog.records) < 20
    assert "490 more rows of the split 'train'" in caplog.text


def test_check_looks_at_the_first_key(tmp_path: Path) -> None:
    from mentor_kit_data.file_checks import look_at_rows
    from mentor_kit_data.rows_task import RowsOptions

    json_lines(tmp_path / "a.jsonl", row(GSM))
    context: Any = SimpleNamespace(recipe_folder=tmp_path)
    ((place, fault),) = look_at_rows(RowsOptions(files={"train": ("a.jsonl",)}), context)
    assert place == ("files", "train", 0)
    assert "answer_pattern" in fault
    assert not list(look_at_rows(RowsOptions(files={"train": ("a.jsonl",)}, answer_pattern="#### (.*)"), context))


def test_decimals_of_parquet_are_numbers(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import decimal

    import pyarrow.parquet as pq

    pq.write_table(pa.table({"question": ["a"], "answer": [decimal.Decimal("1.50")]}), tmp_path / "a.parquet")
    task = built("tasks", "rows", tmp_path, files={"train": "a.parquet"})
    (problem,) = task.problems("train", 0, 9)
    assert task.check("3/2", problem)
    assert json.loads(json.dumps(problem.model_dump(mode="json")))["answer"] == "1.50"
