"""The tasks `rows` and `datasets`: files of every kind, columns, broken rows."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from data_helpers import REGISTRY, built, csv_file, json_lines, parquet_file, said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import DataError, MentorKitError, MissingError
from mentor_kit.hooks.registry import ComponentError
from mentor_kit.runs.rows import BadRow, read_rows

ROWS = [{"question": f"What is {n} + {n}?", "answer": 2 * n} for n in range(1, 6)]


def rows(folder: Path, **options: Any) -> Any:
    return built("tasks", "rows", folder, **options)


def write(path: Path, values: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        return parquet_file(path, *values)
    if path.suffix == ".csv":
        return csv_file(path, list(values[0]), *[[str(cell) for cell in row.values()] for row in values])
    if path.suffix == ".json":
        path.write_text(json.dumps(values))
        return path
    return json_lines(path, *values)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.json"])
def test_the_same_rows_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, ROWS)
    write(tmp_path / f"train-{name}", [{"question": "What is 0?", "answer": 0}])
    task = rows(tmp_path, files={"train": f"train-{name}", "in-domain": [name]})
    assert task.splits == ("train", "in-domain")
    found = task.problems("in-domain", 0, 100)
    assert [(p.question, p.answer, p.split) for p in found] == [
        (row["question"], str(row["answer"]), "in-domain") for row in ROWS
    ]
    assert len({p.id for p in found}) == len(ROWS)
    assert task.check("4", found[1])
    assert not task.check("5", found[1])


def test_training_problems_are_shuffled_by_the_seed_and_a_longer_call_starts_with_a_shorter(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", *[{"question": f"{n}?", "answer": n} for n in range(50)])
    json_lines(tmp_path / "b.jsonl", *[{"question": f"{n}?", "answer": n} for n in range(50, 100)])
    task = rows(tmp_path, files={"train": "a.jsonl", "in-domain": "b.jsonl"})
    whole = task.problems("train", 3, 50)
    assert sorted(p.id for p in whole) == sorted(p.id for p in task.problems("train", 4, 50))
    assert whole != task.problems("train", 4, 50)
    assert whole == task.problems("train", 3, 50)
    assert task.problems("train", 3, 7) == whole[:7]
    assert task.problems("in-domain", 1, 50) == task.problems("in-domain", 2, 50)


def test_columns_are_mapped_nested_ones_too(tmp_path: Path) -> None:
    row = {"q": "Why?", "meta": {"key": "#### 42", "level": 3}, "a.b": "S"}
    write(tmp_path / "a.parquet", [row])
    task = rows(
        tmp_path,
        files={"train": "a.parquet"},
        columns={"question": "q", "answer": "meta.key", "group": "meta.level", "id": "q", "system": "a.b"},
        answer_pattern="#### (.*)",
        prompt="Think. {question}",
    )
    (problem,) = task.problems("train", 0, 9)
    assert (problem.id, problem.question, problem.answer) == ("train/Why?", "Think. Why?", "42")
    assert (problem.group, problem.system) == ("3", "S")


def test_choices_are_written_out_and_checked(tmp_path: Path) -> None:
    keys: list[Any] = ["B", 1, "Rome"]
    values = [{"question": "Where?", "answer": key, "options": ["Paris", "Rome"]} for key in keys]
    json_lines(tmp_path / "a.jsonl", *values)
    task = rows(tmp_path, files={"in-domain": "a.jsonl"}, columns={"choices": "options"}, check="choice")
    for problem in task.problems("in-domain", 0, 9):
        assert problem.question == "Where?\nA. Paris\nB. Rome"
        assert task.check("(b)", problem)
        assert task.check("rome", problem)
        assert not task.check("A", problem)


def test_several_right_answers(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", {"question": "Who?", "answer": ["Obama", "Barack Obama"]})
    task = rows(tmp_path, files={"in-domain": "a.jsonl"}, check={"use": "text"})
    (problem,) = task.problems("in-domain", 0, 9)
    assert task.check("barack obama", problem)
    assert task.check("Obama", problem)
    assert not task.check("Biden", problem)


def test_where_the_answer_is(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", *ROWS)
    boxed = rows(tmp_path, files={"train": "a.jsonl"})
    assert boxed.answer(said(r"It is \boxed{4}.")) == "4"
    assert boxed.answer(said("4")) is None
    whole = rows(tmp_path, files={"train": "a.jsonl"}, answer="text")
    assert whole.answer(said(" 4 ")) == "4"
    assert whole.answer(said("  ")) is None


BROKEN: list[tuple[str, str, str]] = [
    ("a.jsonl", '{"question": "a?", "answer": 1}\n\n{"question": "b?"}\n', r"row 3, column answer: there is no such"),
    ("a.jsonl", '{"question": "a?", "answer": 1}\n{"question": \n', r"row 2: this is no JSON"),
    ("a.jsonl", '{"question": "a?", "answer": 1}\n[1]\n', r"row 2: expected an object, found \[1\]"),
    (
        "a.jsonl",
        '{"question": "a?", "answer": 1}\n{"question": " ", "answer": 1}\n',
        r"row 2, column question: expected",
    ),
    (
        "a.jsonl",
        '{"question": "a?", "answer": 1}\n{"question": "b", "answer": null}\n',
        r"row 2, column answer: expected",
    ),
    ("a.jsonl", '{"question": "a?", "answer": 1}\n{"question": "b", "answer": []}\n', r"row 2, column answer: .*empty"),
    (
        "a.jsonl",
        '{"question": "a?", "answer": 1}\n{"question": "b", "answer": true}\n',
        r"row 2, column answer: .*True",
    ),
    ("a.jsonl", '{"question": "a?", "answer": 1}\n' + "[" * 100_000 + "\n", r"row 2: this is no JSON"),
    ("a.csv", "question,answer\na?,1\nb?\n", r"row 3: expected 2 cells, found 1"),
    ("a.csv", 'question,answer\n"a\n?",1\nb?,\n', r"row 4, column answer: expected a text"),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN)
def test_a_broken_row_is_named_and_fatal_or_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}, {message}") as caught:
        rows(tmp_path, files={"train": name})
    assert "broken: skip" in (caught.value.hint or "")
    task = rows(tmp_path, files={"train": name}, broken="skip")
    assert len(task.problems("train", 0, 9)) == 1
    (record,) = caplog.records
    assert f"{name}, row" in record.getMessage()


def test_an_odd_byte_is_its_rows_fault(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"question,answer\na?,1\nb\xff?,2\n")
    with pytest.raises(DataError, match=r"row 3, column question: "):
        rows(tmp_path, files={"train": "a.csv"})


def test_ids_are_unique_in_a_split(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", *[{"question": "?", "answer": 1, "n": 5}] * 2)
    with pytest.raises(DataError, match=r"row 2: .*'train/5'.*a.jsonl, row 1"):
        rows(tmp_path, files={"train": "a.jsonl"}, columns={"id": "n"})


def test_the_pattern_must_find_a_key(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", {"question": "?", "answer": "no key"})
    with pytest.raises(
        DataError,
        match="row 1, column answer: the pattern '#### (.*)' finds no key in 'no key'".replace("(", r"\(")
        .replace(")", r"\)")
        .replace("*", r"\*"),
    ):
        rows(tmp_path, files={"train": "a.jsonl"}, answer_pattern="#### (.*)")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.jsonl", None, "there is no file .*nowhere.jsonl"),
        ("a.xlsx", b"", "the ending '.xlsx' is of no known format"),
        ("data", b"", "data: the name has no ending"),
        ("a.parquet", b"PAR1", "not a readable parquet file"),
        ("a.json", b"[1, 2", "is no JSON"),
        ("a.csv", b"a,a\n", "two columns have the same name"),
        ("a.jsonl", b"", "the split 'train' has no problems"),
        ("a.csv", b"question,answer\n", "the split 'train' has no problems"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        rows(tmp_path, files={"train": name}, broken="skip")


def test_without_pyarrow_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet_file(tmp_path / "a.parquet", *ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingError) as caught:
        rows(tmp_path, files={"train": "a.parquet"})
    assert caught.value.hint == "pip install 'mentor-kit[data]'"


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({}, "files"),
        ({"files": {}}, "files"),
        ({"files": {"train": "a"}, "check": "maths"}, "check"),
        ({"files": {"train": "a"}, "check": {"use": "number", "tolerence": 1}}, "tolerance"),
        (
            {"files": {"train": "a"}, "check": {"use": "text", "tolerance": 1}},
            "an option of the check number, not of text",
        ),
        ({"files": {"train": "a"}, "columns": {"qestion": "q"}}, "question"),
        ({"files": {"train": "a"}, "answer_pattern": "("}, "answer_pattern"),
        ({"files": {"train": "a"}, "answer_pattern": "x"}, "answer_pattern"),
        ({"files": {"train": "a"}, "prompt": "no place"}, "prompt"),
        ({"files": {"train": "a"}, "broken": "ignore"}, "broken"),
    ],
)
def test_faulty_options_are_named(options: dict[str, Any], place: str) -> None:
    with pytest.raises(ComponentError, match=place):
        REGISTRY.check("tasks", ComponentSpec.model_validate({"use": "rows", "with": options}))


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_csv_is_read_as_pythons_reader_reads_it(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("x", "y"), *cells])
    (tmp_path / "a.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    twin = [tuple(row) for row in csv.reader(io.StringIO(text.getvalue(), newline=""))][1:]
    found = [row.values for row in read_rows(tmp_path / "a.csv")]
    assert [tuple(values.values()) for values in found if not isinstance(values, BadRow)] == [r for r in twin if r]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet"]))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    refusal = ""
    try:
        numbers = [row.number for row in read_rows(tmp_path / name)]
    except MentorKitError as error:
        numbers, refusal = [], str(error)
    assert numbers == sorted(numbers)
    assert not refusal or name in refusal


class TestHub:
    def task(self, folder: Path, **options: Any) -> Any:
        return built("tasks", "datasets", folder, **options)

    def test_a_folder_of_files_with_a_slice(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
        (tmp_path / "set").mkdir()
        json_lines(tmp_path / "set" / "train.jsonl", *ROWS)
        json_lines(tmp_path / "set" / "test.jsonl", *ROWS[:3])
        task = self.task(tmp_path, dataset="set", splits={"train": "train", "in-domain": "test[:2]"})
        assert [p.answer for p in task.problems("in-domain", 0, 9)] == ["2", "4"]
        assert sorted(int(p.answer) for p in task.problems("train", 0, 9)) == [2, 4, 6, 8, 10]
        with pytest.raises(DataError, match=r"set\[train\], row 1, column nothing: "):
            self.task(tmp_path, dataset="set", columns={"answer": "nothing"})
        with pytest.raises(DataError, match="'set' cannot be loaded, split 'tset'") as caught:
            self.task(tmp_path, dataset="set", splits={"train": "tset"})
        assert "did you mean 'test'" in (caught.value.hint or "")

    def test_without_the_package_the_command_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mentor_kit.hooks.references.find_spec", lambda name: None)
        with pytest.raises(MissingError) as caught:
            self.task(tmp_path, dataset="owner/name")
        assert caught.value.hint == "pip install 'mentor-kit[hub-data]'"
