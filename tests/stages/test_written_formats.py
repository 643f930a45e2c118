"""Students that cannot be written as asked are written in another format, and that is said."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage_fakes import ListContext, RecordingPolicy, ToyFormat, experiment

from mentor_kit.core.errors import BackendError
from mentor_kit.stages.export import ExportOptions, ExportStage
from mentor_kit.stages.student import LoadedStudent

FORMATS = ("transformers", "mlx", "adapter", "mlx-adapter")


def student(**faults: str) -> LoadedStudent:
    policy: Any = RecordingPolicy()
    policy.faults = {name.replace("_", "-"): why for name, why in faults.items()}
    if "transformers" in faults:
        policy.whole_format = "mlx"
    toy: Any = ToyFormat()
    return LoadedStudent(policy, toy, FORMATS)


@pytest.mark.parametrize(
    ("faults", "asked", "written"),
    [
        ({}, "adapter", "adapter"),
        ({"adapter": "no names"}, "adapter", "mlx-adapter"),
        ({"adapter": "no names", "mlx_adapter": "two ranks"}, "adapter", "transformers"),
        ({"mlx_adapter": "two ranks"}, "mlx-adapter", "adapter"),
        ({"transformers": "no names"}, "transformers", "mlx"),
        ({"transformers": "no names", "adapter": "no names", "mlx_adapter": "two ranks"}, "adapter", "mlx"),
    ],
)
def test_what_is_written_is_as_near_as_can_be(
    faults: dict[str, str], asked: str, written: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = student(**faults)
    assert found.written_as(asked) == (written, faults.get(asked.replace("-", "_")))
    with caplog.at_level(logging.WARNING, "mentor_kit"):
        assert found.export(tmp_path, asked) == written
    assert json.loads((tmp_path / "weights.json").read_text()) == [0, written]
    assert [f"`{asked}`" in record.message for record in caplog.records] == [True] * (asked != written)


def test_a_stage_says_so_before_the_first_one_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    held = replace(
        experiment(describe_export=lambda folder, form: told.append(form)), student=student(adapter="no names")
    )
    stage = ExportStage(ExportOptions(format="adapter"))
    with caplog.at_level(logging.WARNING, "mentor_kit"):
        stage.check(held)
    assert [("no names" in record.message, "`mlx-adapter`" in record.message) for record in caplog.records] == [
        (True, True)
    ]
    context: Any = ListContext(RecordingPolicy())
    context.root = tmp_path
    stage.run(held, context)
    assert [path.name for path in tmp_path.iterdir()] == ["student-mlx-adapter"]
    assert (context.of("export")[0]["format"], told) == ("mlx-adapter", ["mlx-adapter"])


class Other:
    """A backend that writes `odd` folders of what is handed over."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.given = fault, ""

    def rewrite(self, student: Any, folder: Path, format: str, *, dtype: str) -> None:
        if self.fault:
            raise BackendError(self.fault)
        self.given = (Path(student.model) / "weights.json").read_text()
        (folder / "odd.txt").write_text(f"{format} {dtype}")


@pytest.mark.parametrize("fault", ["", "no such model"])
def test_another_backend_writes_what_it_is_handed(fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mentor_kit.backend.student import StudentSpec

    other, policy, toy = Other(fault), _FolderPolicy(), ToyFormat()
    writing: Any = lambda wanted: other if wanted == "odd" else None  # noqa: E731
    held = LoadedStudent(policy, toy, ("transformers",), StudentSpec("base"), writing)  # type: ignore[arg-type]
    folder = tmp_path / "out"
    folder.mkdir()
    with caplog.at_level(logging.WARNING, "mentor_kit"):
        written = held.export(folder, "odd")
    names = {path.name for path in folder.iterdir()}
    if fault:
        assert (written, names) == ("transformers", {"weights.json", "tokenizer.txt"})
        assert [fault in record.message for record in caplog.records] == [True]
    else:
        assert (written, names) == ("odd", {"odd.txt", "tokenizer.txt"})
        assert (other.given, (folder / "odd.txt").read_text()) == ('[0, "transformers"]', "odd float32")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class _FolderPolicy(RecordingPolicy):
    def export(self, folder: Path, *, format: str = "transformers") -> None:
        folder.mkdir(exist_ok=True)
        super().export(folder, format=format)
