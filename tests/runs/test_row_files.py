"""Files of rows: what is written is read again, by this package and by the library `datasets`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mentor_kit.core.errors import MentorKitError, MissingError, UsageError
from mentor_kit.runs.row_files import ENDINGS, write_rows
from mentor_kit.runs.rows import BadRow, read_rows

ROWS: list[dict[str, Any]] = [
    {
        "id": "é",
        "messages": [
            {"role": "user", "content": "?"},
            {"role": "assistant", "tool_calls": [{"name": "a", "arguments": {"x": 1, "y": None}}]},
        ],
        "tools": [{"parameters": {"a": {}}}, {"parameters": {"b": [1, "x", None]}}],
        "turns": [{"from": "human", "value": "?"}],
        "number": 1,
    },
    {"id": None, "messages": [], "tools": None, "turns": [], "number": 2},
]


def read(path: Path) -> list[dict[str, Any]]:
    found = []
    for row in read_rows(path):
        assert isinstance(row.values, dict)
        found.append(row.values)
    return found


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_are_read_as_they_were_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "folder" / f"rows{ending}"
    assert write_rows(path, iter(ROWS)) == 2
    assert read(path) == ROWS
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    assert write_rows(path, []) == 0
    assert read(path) == []


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if not ending.startswith(".ndjson")])
def test_the_library_datasets_loads_the_same(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / f"rows{ending}"
    write_rows(path, ROWS)
    kind = "parquet" if ending == ".parquet" else "json"
    loaded = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ROWS


def test_what_was_there_stays_where_rows_raise(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, ROWS)
    before = path.read_bytes()

    def broken() -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_rows(path, broken())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_rows(tmp_path / name, ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


@pytest.mark.parametrize("name", ["rows.csv", "rows", "rows.gz", "rows.parquet.gz"])
def test_an_ending_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        write_rows(tmp_path / name, ROWS)
    assert ".parquet" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentor_kit.runs.row_files.find_spec", lambda name: None)
    with pytest.raises(MissingError) as caught:
        write_rows(tmp_path / "rows.parquet", ROWS)
    assert caught.value.hint == "pip install 'mentor-kit[data]'"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MentorKitError, match=r"file/rows\.jsonl"):
        write_rows(tmp_path / "file" / "rows.jsonl", ROWS)


def test_half_of_a_surrogate_pair_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [{"a": "\ud800"}])
    assert json.loads(path.read_bytes()) == {"a": "\ud800"}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.fixed_dictionaries({"x": VALUES, "y": VALUES}), min_size=1, max_size=4))
def test_any_rows_are_the_same_in_parquet(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, rows)
    found = read(path)
    assert [json.dumps([row["x"], row["y"]]) for row in found] == [json.dumps([row["x"], row["y"]]) for row in rows]


def test_numbers_keep_their_kind(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 1.5, "c": 2**70}, {"a": 2.0, "b": math.pi, "c": 1}]
    path = tmp_path / "rows.parquet"
    write_rows(path, rows)
    assert [[type(value) for value in row.values()] for row in read(path)] == [[int, float, int], [float, float, int]]
    assert read(path) == rows


def bad(path: Path) -> list[str | None]:
    """The columns of the rows that cannot be used; None for the others."""
    return [row.values.column if isinstance(row.values, BadRow) else None for row in read_rows(path)]


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_half_of_a_surrogate_pair_makes_a_row_broken(tmp_path: Path, ending: str) -> None:
    rows = [r'{"a": 1, "b": ["\ud83d"]}', r'{"\udE00": 1}', r'{"b": "\ud83d\ude00"}', r'{"b": "\\ud83d"}']
    path = tmp_path / f"rows{ending}"
    path.write_text("\n".join(rows) if ending == ".jsonl" else f"[{','.join(rows)}]")
    assert bad(path) == ["b", "\ude00", None, None]


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_a_key_that_occurs_twice_inside_makes_a_row_broken(tmp_path: Path, ending: str) -> None:
    rows = ['{"a": [{"b": {"c": 1, "c": 2}}]}', '{"a": [{"c": 1}, {"c": 2}]}', '{"a": [[{"c": 1, "c": 2}]]}']
    path = tmp_path / f"rows{ending}"
    path.write_text("\n".join(rows) if ending == ".jsonl" else f"[{','.join(rows)}]")
    assert bad(path) == ["a.b.c", None, "a.c"]


def test_json_named_csv_is_shown_in_part(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(json.dumps([{"a": 1, "b": 2}] * 1000))
    with pytest.raises(MentorKitError) as caught:
        next(read_rows(path))
    assert len(caught.value.message) < 400
    assert ".jsonl" in str(caught.value.hint)
