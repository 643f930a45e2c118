"""Files of splits: ids that are made up, files that serve twice, patterns, and files as people have them."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_helpers import authors_row, built, json_lines, parquet_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mentor_kit_data.files import labels

from mentor_kit.core.errors import DataError
from mentor_kit.runs.rows import BadRow, read_rows


def rows(folder: Path, files: dict[str, Any], **options: Any) -> Any:
    return built("tasks", "rows", folder, files=files, **options)


def some(*numbers: int) -> list[dict[str, Any]]:
    return [{"question": f"What is {n}?", "answer": n} for n in numbers]


def ids(task: Any, split: str = "in-domain") -> list[str]:
    return [problem.id.removeprefix(f"{split}/") for problem in task.problems(split, 0, 99)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jsonl"], ["a/1"]),
        (["a.jsonl", "b.jsonl"], ["a/1", "b/1"]),
        (["part-1/data.jsonl", "part-2/data.jsonl"], ["data/1", "part-2/data/1"]),
        (["a.jsonl", "a.json", "x/a.jsonl", "y/a.jsonl"], ["a/1", "a.json/1", "x/a/1", "y/a/1"]),
        (["x/y/a.jsonl", "z/y/a.jsonl", "y/a.jsonl"], ["a/1", "y/a/1", "a-3/1"]),
        (["a.b.jsonl", "a.c.jsonl"], ["a.b/1", "a.c/1"]),
        (["a.jsonl.gz", "a.jsonl"], ["a/1", "a.jsonl/1"]),
    ],
)
@pytest.mark.parametrize("broken", ["fail", "skip"])
def test_ids_of_several_files(tmp_path: Path, names: list[str], expected: list[str], broken: str) -> None:
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(some(number)[0]).encode() + b"\n"
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    task = rows(tmp_path, {"in-domain": names}, broken=broken)
    assert ids(task) == expected
    assert [problem.answer for problem in task.problems("in-domain", 0, 99)] == [str(n) for n in range(len(names))]
    for count in range(1, len(names)):  # a file that is added changes no id
        assert ids(rows(tmp_path, {"in-domain": names[:count]})) == expected[:count]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "a.b", "c.json", "a.gz"]), min_size=1, max_size=4), max_size=8))
def test_labels_are_unique_and_stay(parts: list[list[str]]) -> None:
    paths = list(dict.fromkeys(Path("/", *part[:-1], f"{part[-1]}.jsonl") for part in parts))
    found = labels(paths)
    assert len(set(found)) == len(paths)
    assert all(labels(paths[:count]) == found[:count] for count in range(len(paths)))


def test_the_authors_indices_may_start_anew(tmp_path: Path) -> None:
    for number, name in enumerate(["part-0.parquet", "part-1.parquet"]):
        questions = [f"What is {n} + {number}?" for n in range(3)]
        parquet_file(tmp_path / name, *[authors_row(n, question) for n, question in enumerate(questions)])
    files = {"in-domain": ["part-0.parquet", "part-1.parquet"]}
    task = built("tasks", "mentor-parquet", tmp_path, files=files)
    assert ids(task) == ["0", "1", "2", "part-1/1", "part-1/2", "part-1/3"]
    task.close()
    parquet_file(tmp_path / "all.parquet", authors_row(0, "a"), authors_row(0, "b"), authors_row(1, "c"))
    task = built("tasks", "mentor-parquet", tmp_path, files={"in-domain": "all.parquet"})
    assert ids(task) == ["0", "all/2", "1"]
    task.close()


def test_ids_of_the_users_own_are_kept_or_refused(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", *[{**row, "id": "x"} for row in some(1, 2)])
    with pytest.raises(DataError, match=r"row 2: .*'train/x'.*row 1") as caught:
        rows(tmp_path, {"train": "a.jsonl"}, columns={"id": "id"})
    assert "columns.id" in (caught.value.hint or "")


def test_a_set_with_and_without_ids(tmp_path: Path) -> None:
    json_lines(tmp_path / "a.jsonl", {"problem": "1?", "answer": 1, "id": "2"}, {"problem": "2?", "answer": 2})
    task = built("tasks", "benchmarks", tmp_path, sets={"amc23": "a.jsonl"})
    assert ids(task, "amc23") == ["2", "a/2"]
    task.close()


def test_one_file_is_not_for_training_and_evaluation(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    json_lines(tmp_path / "a.jsonl", *some(1))
    json_lines(tmp_path / "b.jsonl", *some(2))
    os.link(tmp_path / "a.jsonl", tmp_path / "hard.jsonl")
    (tmp_path / "soft.jsonl").symlink_to("a.jsonl")
    for files in (
        {"train": "a.jsonl", "in-domain": "a.jsonl"},
        {"train": "a.jsonl", "out-of-domain": ["b.jsonl", "x/../a.jsonl"]},
        {"train": ["b.jsonl", "a.jsonl"], "mine": "hard.jsonl"},
        {"train": "soft.jsonl", "in-domain": "a.jsonl"},
        {"train": str(tmp_path / "a.jsonl"), "in-domain": "a.jsonl"},
        {"train": "?.jsonl", "in-domain": "b.jsonl"},
    ):
        with pytest.raises(DataError, match=r"[ab]\.jsonl.*'train'") as caught:
            rows(tmp_path, files)
        assert caught.value.hint
    with pytest.raises(DataError, match="'train'"):
        rows(tmp_path, {"train": ["a.jsonl", "soft.jsonl"]})
    # two evaluations may share one
    assert ids(rows(tmp_path, {"train": "b.jsonl", "in-domain": "a.jsonl", "mine": "a.jsonl"}), "mine") == ["a/1"]


def test_check_finds_it_too(tmp_path: Path) -> None:
    from mentor_kit_data.file_checks import look_at_rows
    from mentor_kit_data.rows_task import RowsOptions

    json_lines(tmp_path / "a.jsonl", *some(1))
    context: Any = SimpleNamespace(recipe_folder=tmp_path)

    def places(files: dict[str, Any]) -> list[Any]:
        return [place for place, _ in look_at_rows(RowsOptions.model_validate({"files": files}), context)]

    assert places({"train": "a.jsonl", "in-domain": "a.jsonl"}) == [("files",)]
    assert places({"train": "*.jsonl"}) == []
    assert places({"train": "*.csv", "in-domain": "gone.jsonl"}) == [("files", "train", 0), ("files", "in-domain", 0)]


def test_problems_that_training_meets_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    json_lines(tmp_path / "a.jsonl", *some(1, 2, 3))
    json_lines(tmp_path / "b.jsonl", {"question": " what is  2?", "answer": 2}, *some(4))
    json_lines(tmp_path / "c.jsonl", *some(5))
    with caplog.at_level(logging.WARNING):
        rows(tmp_path, {"train": "a.jsonl", "in-domain": "b.jsonl", "out-of-domain": "c.jsonl"})
    (record,) = caplog.records
    assert re.findall(r"in-domain/\S+|train/\S+", record.getMessage()) == ["in-domain/b/1", "train/a/2"]
    assert re.findall(r"\b\d of \d\b", record.getMessage()) == ["1 of 2"]


def test_patterns(tmp_path: Path) -> None:
    for name in ("x/train-2.jsonl", "x/train-1.jsonl", "x/other.jsonl", "y/z/train-3.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        json_lines(tmp_path / name, *some(len(name)))
    assert ids(rows(tmp_path, {"in-domain": "x/train-*.jsonl"})) == ["train-1/1", "train-2/1"]
    assert ids(rows(tmp_path, {"in-domain": "**/train-?.jsonl"})) == ["train-1/1", "train-2/1", "train-3/1"]
    assert ids(rows(tmp_path, {"in-domain": str(tmp_path / "y/*/*.jsonl")})) == ["train-3/1"]
    with pytest.raises(DataError, match=r"x/\*\.csv"):
        rows(tmp_path, {"train": "x/*.csv"})
    json_lines(tmp_path / "a[1].jsonl", *some(1))  # a name that only looks like one
    assert ids(rows(tmp_path, {"in-domain": "a[1].jsonl"})) == ["a[1]/1"]


ROWS = [{"question": "1+1?", "answer": "2"}, {"question": "Ä?", "answer": "4"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = "question,answer\n1+1?,2\nÄ?,4\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("a.jsonl", LINES.replace("\n", "\r\n\r\n").encode()),
        ("a.jsonl", LINES.strip().encode()),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(ROWS, indent=1).encode()),
        ("a.json", b"\xef\xbb\xbf \n\t" + json.dumps(ROWS).encode()),
        ("a.json", LINES.encode()),
        ("a.jsonl", json.dumps(ROWS, indent=2).encode()),
        ("a.ndjson", LINES.encode()),
        ("a.JSONL", LINES.encode()),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.json.gz", gzip.compress(b"\xef\xbb\xbf" + json.dumps(ROWS).encode(), mtime=0)),
        ("a.csv", CSV.encode()),
        ("a.csv", CSV.encode("utf-8-sig")),
        ("a.csv", CSV.replace("\n", "\r\n").encode()),
        ("a.csv", CSV.replace("\n", "\r").encode()),
        ("a.csv", ("\n\n" + CSV).encode()),
        ("a.csv", CSV.replace(",", ";").encode("utf-8-sig")),
        ("a.csv", CSV.replace("question,answer", " question , answer ").encode()),
        ("a.csv.gz", gzip.compress(CSV.encode("utf-8-sig"), mtime=0)),
        ("a.tsv", CSV.replace(",", "\t").encode()),
    ],
)
def test_files_as_people_have_them(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    task = rows(tmp_path, {"in-domain": name})
    assert [(p.question, p.answer) for p in task.problems("in-domain", 0, 9)] == [("1+1?", "2"), ("Ä?", "4")]


def test_entries_of_lists(tmp_path: Path) -> None:
    """As verl and TRL have prompts."""
    chat = [{"role": "user", "content": "1+1?"}]
    json_lines(tmp_path / "a.jsonl", {"prompt": chat, "reward_model": {"ground_truth": ["2"]}})
    with pytest.raises(DataError, match="column prompt: ") as caught:
        rows(tmp_path, {"train": "a.jsonl"}, columns={"question": "prompt", "answer": "reward_model.ground_truth"})
    assert "prompt.0.content" in (caught.value.hint or "")
    columns = {"question": "prompt.0.content", "answer": "reward_model.ground_truth"}
    (problem,) = rows(tmp_path, {"train": "a.jsonl"}, columns=columns).problems("train", 0, 9)
    assert (problem.question, problem.answer) == ("1+1?", "2")
    with pytest.raises(DataError, match=r"column prompt\.1\.content: "):
        rows(tmp_path, {"train": "a.jsonl"}, columns={**columns, "question": "prompt.1.content"})


def test_choices_in_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer,options\nWhere?,Rome,"[""Paris"", ""Rome""]"\n')
    options: dict[str, Any] = {"columns": {"choices": "options"}, "check": "choice"}
    task = rows(tmp_path, {"train": "a.csv"}, **options)
    assert task.check("B", task.problems("train", 0, 9)[0])
    (tmp_path / "a.csv").write_text("question,answer,options\nWhere?,Rome,Paris|Rome\n")
    with pytest.raises(DataError, match="row 2, column options: "):
        rows(tmp_path, {"train": "a.csv"}, **options)


def test_long_cells(tmp_path: Path) -> None:
    for name, between in (("a.csv", ","), ("a.tsv", "\t")):
        (tmp_path / name).write_text(f'question{between}answer\n"{"x" * 300_000}"{between}2\n')
        (row,) = read_rows(tmp_path / name)
        assert len(row.text("question")) == 300_000


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("a.jsonl", LINES.encode("utf-16"), "UTF-16", "UTF-8"),
        ("a.csv", CSV.encode("utf-16"), "UTF-16", "UTF-8"),
        ("a.csv", CSV.encode("latin-1"), "row 3, column question: ", "UTF-8"),
        ("a.jsonl", LINES.encode("latin-1"), "row 2: ", "UTF-8"),
        (
            "a.jsonl",
            b'{"question": "?", "answer": 1, "answer": 2}',
            "row 1, column answer: ",
            "skip",
        ),
        (
            "a.json",
            b'[{"question": "?", "answer": 1, "answer": 2}]',
            "row 1, column answer: ",
            "skip",
        ),
        ("a.json", json.dumps({"version": 1, "data": ROWS}).encode(), "a.json", "jq '.data'"),
        ("a.json", json.dumps({"data": ROWS}, indent=1).encode(), "a.json", "jq '.data'"),
        (
            "a.json",
            json.dumps({"question": {"0": "?"}, "answer": {"0": 1}}).encode(),
            "a.json",
            "orient='records'",
        ),
        ("a.jsonl", b"", "'train'", "empty"),
        ("a.csv", b"\n\n", "'train'", "empty"),
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz", ""),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], "a.jsonl.gz", ""),
        ("a.parquet.gz", b"", "a.parquet.gz", ".jsonl"),
        ("a.txt", b"", "a.txt", ".jsonl"),
        ("a", b"", "a", ".jsonl"),
        ("a.jsonl", b'{"qestion": "?", "answer": 1}', "'qestion'", "skip"),
        ("a.csv", b"question|answer\n?|1\n", "question|answer", "skip"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str, hint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        rows(tmp_path, {"train": name})
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_names_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "train.jsonl").write_text(LINES)
    with pytest.raises(DataError, match=r"folder\.jsonl") as caught:
        rows(tmp_path, {"train": "folder.jsonl"})
    assert "*.jsonl" in (caught.value.hint or "")
    with pytest.raises(DataError, match=r"trian\.jsonl.*'train\.jsonl'"):
        rows(tmp_path, {"train": "trian.jsonl"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=60), st.sampled_from(["a.jsonl.gz", "a.csv.gz", "a.json.gz"]), st.booleans(), st.integers(0, 9)
)
def test_any_packed_file_is_read_or_refused(tmp_path: Path, content: bytes, name: str, packed: bool, cut: int) -> None:
    whole = gzip.compress(content) if packed else content
    (tmp_path / name).write_bytes(whole[: len(whole) - cut])
    try:
        found = [row.values for row in read_rows(tmp_path / name)]
    except DataError as error:
        assert name in error.message  # noqa: PT017
        return
    assert all(isinstance(values, dict | BadRow) for values in found)
