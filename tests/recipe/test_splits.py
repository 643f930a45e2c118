"""Splits that a task does not have are found by `check` where its options tell, else before the first step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recipe_helpers import write

from mentor_kit import api
from mentor_kit.core.errors import ExitCode, RecipeError
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.model import Recipe
from mentor_kit.recipe.splits import known_splits

GRPO = "{use: grpo, with: {steps: 1, optimizer: {lr: 1.0e-4}}}"
ROWS = "{use: rows, with: {files: {train: train.jsonl, test: test.jsonl}}}"
KNOWN = "train, test"


def recipe(folder: Path, train: str, on: str, task: str = ROWS) -> Path:
    for name in ("train", "test"):
        lines = [f'{{"question": "{name} {n}?", "answer": "{n}"}}\n' for n in range(3)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    text = f"""\
mentorkit: 1
name: splits
student: {{model: tiny-student}}
task: {task}
teacher: {{use: scripted}}
reward: {{use: sparse}}
train: {train}
evaluate: {{on: {on}}}
"""
    return write(folder, text)


@pytest.mark.parametrize(
    ("train", "on", "faults"),
    [
        (f"[{GRPO}]", "[{split: test}]", []),
        (f"[{GRPO}]", "[{split: tset}]", [("8:25", "tset", "test")]),
        (f"[{GRPO}]", "[{split: test}, {split: in-domain}]", [("8:40", "in-domain", "")]),
        ("[{use: collect, with: {split: trian}}]", "[]", [("7:38", "trian", "train")]),
        # nothing is evaluated while demonstrations are collected
        ("[{use: collect}]", "[{split: tset}]", []),
        (
            "[{use: sft, with: {steps: 1, split: tests, optimizer: {lr: 1.0}}}]",
            "[{split: no}]",
            [("7:44", "tests", "test"), ("8:25", "no", "")],
        ),
        ("[{use: evaluate, with: {on: [{split: tets}]}}]", "[{split: unused}]", [("7:45", "tets", "test")]),
        ("[evaluate]", "[{split: tets}]", [("8:25", "tets", "test")]),
        ("[evaluate]", "[]", [("7:9", "in-domain", ""), ("7:9", "out-of-domain", "")]),
    ],
)
def test_splits_that_are_not_there_are_named_with_their_places(
    tmp_path: Path, train: str, on: str, faults: list[tuple[str, str, str]]
) -> None:
    path = recipe(tmp_path, train, on)
    if not faults:
        assert load_checked(path, {}, default_registry()).recipe.name == "splits"
        return
    with pytest.raises(RecipeError) as caught:
        load_checked(path, {}, default_registry())
    assert caught.value.exit_code == ExitCode.USAGE
    lines = caught.value.message.splitlines()
    assert len(lines) == len(faults)
    for line, (place, name, meant) in zip(lines, faults, strict=True):
        assert f"recipe.yaml:{place}: " in line
        assert f"has no split '{name}'" in line
        assert line.endswith(f"its splits are: {KNOWN}")
        assert ("did you mean" in line) == bool(meant)
        assert not meant or f"did you mean '{meant}'" in line


TASKS: list[tuple[str, Any, str]] = [
    ("arithmetic", {}, ""),
    ("rows", {"files": {"train": "train.jsonl", "test": ["test.jsonl"]}}, ""),
    ("benchmarks", {"sets": {"aime24": "aime.jsonl"}}, ""),
    ("reasoning-gym", {"generators": ["chain_sum"]}, "reasoning_gym"),
    ("reasoning-gym", {"generators": ["chain_sum"], "out_of_domain": ["gcd"]}, "reasoning_gym"),
    ("bfcl", {"categories": ["simple", "multiple"]}, "bfcl_eval"),
]


@pytest.mark.parametrize(("task", "options", "package"), TASKS)
def test_options_tell_the_splits_that_the_task_has(tmp_path: Path, task: str, options: Any, package: str) -> None:
    if package:
        pytest.importorskip(package)
    recipe(tmp_path, "[]", "[]")
    (tmp_path / "aime.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
    from mentor_kit.hooks.registry import BuildContext

    registry = default_registry()
    made = Recipe.model_validate(
        {"mentorkit": 1, "name": "x", "student": {"model": "m"}, "task": {"use": task, "with": options}}
    )
    built = registry.build("tasks", made.task, BuildContext(registry=registry, recipe_folder=tmp_path))
    assert known_splits(made, registry) == tuple(built.splits)


def test_a_task_that_does_not_tell_is_asked_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of this one say nothing: a run, a dry run, a resumed one, and an evaluation ask the task itself."""
    from mentor_kit_data.rows_task import RowsOptions

    monkeypatch.setattr(RowsOptions, "task_splits", None)
    path = recipe(tmp_path, f"[{GRPO}]", "[{split: tset}]")
    load_checked(path, {}, default_registry())
    for act in (api.run, api.evaluate):
        with pytest.raises(RecipeError, match=r"no split 'tset' \(did you mean 'test'\?\)"):
            act(path, output=tmp_path / "runs")
    with pytest.raises(RecipeError, match=r"recipe.yaml:8:25: evaluate.on.0.split: the task has no split 'tset'"):
        api.plan(path)
    assert not (tmp_path / "runs").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(RecipeError, match="no split 'tset'"):
        api.run(path, output=tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []  # a folder that was there before stays


@pytest.mark.slow
def test_a_split_of_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mentor_kit.cli", "evaluate", "quickstart", "--split", "indomain"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith("error: --split: ")
    assert "'in-domain'" in done.stderr
    assert not (tmp_path / "runs").exists()
