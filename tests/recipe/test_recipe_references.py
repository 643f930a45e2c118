"""`check` looks at what a recipe names: files, columns, modules, functions, commands, models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mentor_kit.hooks.loader import default_registry, load_plugins
from mentor_kit.hooks.registry import Registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.faults import Fault, RecipeFaults
from mentor_kit.recipe.loading import recipe_names
from mentor_kit.recipe.settings import parse_settings

ROWS = "task: {use: rows, with: {files: {train: train.jsonl}}}"
TOOLS = '''
from math import sqrt
def add(a: float, b: float) -> float:
    """Add."""
    return a + b
double = lambda x: 2 * x
'''


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_text('{"question": "1+1?", "answer": "2", "id": "a"}\n')
    (tmp_path / "train.csv").write_text("question,answer\n1+1?,2\n")
    (tmp_path / "sums.py").write_text(TOOLS)
    (tmp_path / "broken.py").write_text("def add(:\n")
    (tmp_path / "star.py").write_text("from math import *\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner.py").write_text(TOOLS)
    (tmp_path / "server.py").write_text("")
    (tmp_path / "folder").mkdir()
    return tmp_path


def faults(here: Path, *lines: str, settings: tuple[str, ...] = ()) -> list[tuple[int, str]]:
    """The faults of a recipe that adds lines to the quickstart's: the line of each, and the key it names."""
    # the quickstart's evaluation splits are those of its own task
    (here / "recipe.yaml").write_text("\n".join(["extends: quickstart", *lines, "evaluate: {on: []}"]) + "\n")
    try:
        load_checked(here / "recipe.yaml", parse_settings(settings), default_registry(), look=True)
    except RecipeFaults as error:
        return [(fault.place.line, fault.text.partition(":")[0]) for fault in error.faults]
    return []


@pytest.mark.parametrize(
    ("line", "place"),
    [
        # data
        (ROWS.replace("train.jsonl", "trian.jsonl"), "task.with.files.train"),
        (ROWS.replace("train.jsonl", "[train.jsonl, gone.csv]"), "task.with.files.train.1"),
        (ROWS.replace("train.jsonl", "folder"), "task.with.files.train"),
        (ROWS.replace("train.jsonl", "server.py"), "task.with.files.train"),
        (ROWS.replace("}}}", "}, columns: {question: prompt}}}"), "task.with.columns.question"),
        (ROWS.replace("}}}", "}, columns: {group: level}}}"), "task.with.columns.group"),
        (ROWS.replace("jsonl}}}", "csv}, columns: {answer: result}}}"), "task.with.columns.answer"),
        ("task: {use: mentor-parquet, with: {files: {train: gone.parquet}}}", "task.with.files.train"),
        ("task: {use: benchmarks, with: {sets: {aime24: gone.jsonl}}}", "task.with.sets.aime24"),
        # tools
        ("tools: [{use: python, with: {module: smus.py}}]", "tools.0.with.module"),
        ("tools: [{use: python, with: {module: no_such_module}}]", "tools.0.with.module"),
        ("tools: [{use: python, with: {module: package.outer}}]", "tools.0.with.module"),
        ("tools: [{use: python, with: {module: json.nothing}}]", "tools.0.with.module"),
        ("tools: [{use: python, with: {module: broken.py}}]", "tools.0.with.module"),
        ("tools: [{use: python, with: {module: sums.py, functions: [ad]}}]", "tools.0.with.functions.0"),
        ("tools: [{use: python, with: {module: package.inner, functions: [add, sub]}}]", "tools.0.with.functions.1"),
        ("tools: [{use: mcp, with: {command: [no-such-command, x]}}]", "tools.0.with.command.0"),
        ("tools: [{use: mcp, with: {command: [python, servre.py]}}]", "tools.0.with.command.1"),
        ("tools: [{use: search, with: {corpus: gone}}]", "tools.0.with.corpus"),
        # teachers, and slots inside options
        ("teacher: {use: recorded, with: {path: gone.jsonl}}", "teacher.with.path"),
        ("teacher: {use: local, with: {model: ./gone}}", "teacher.with.model"),
        (
            "train: [{use: grpo, with: {steps: 1, optimizer: {lr: 1.0e-4}, objective: {distill: 1.0}, "
            "teacher: {use: local, with: {model: ./gone}}}}]",
            "train.0.with.teacher.with.model",
        ),
        # the student
        ("student: {model: ./gone}", "student.model"),
        ("student: {model: tiny-studnet}", "student.model"),
        ("student: {model: folder}", "student.model"),
        ("student: {model: server.py}", "student.model"),
        ("student: {model: tiny-student, chat_template: gone.jinja}", "student.chat_template"),
        ("student: {model: tiny-student, adapter: {use: lora, with: {path: gone}}}", "student.adapter.with.path"),
        ("student: {model: tiny-student, checkpoint: runs/a/1/checkpoints/x}", "student.checkpoint"),
    ],
)
def test_what_is_not_there_is_named_with_its_place(here: Path, line: str, place: str) -> None:
    assert faults(here, line) == [(2, place)]


@pytest.mark.parametrize(
    "line",
    [
        ROWS,
        ROWS.replace("train.jsonl", "[train.jsonl, train.csv]"),
        ROWS.replace("}}}", "}, columns: {question: prompt}, broken: skip}}"),
        "tools: [{use: python, with: {module: sums.py, functions: [add, sqrt, double]}}]",
        "tools: [{use: python, with: {module: sums}}]",
        "tools: [{use: python, with: {module: package.inner, functions: [add]}}]",
        "tools: [{use: python, with: {module: star.py, functions: [sqrt]}}]",
        "tools: [{use: python, with: {module: math, functions: [sqrt]}}]",
        "tools: [{use: python, with: {module: os.path}}]",
        "tools: [{use: mcp, with: {command: [python, server.py]}}]",
        "tools: [{use: mcp, with: {command: [python, -m, somewhere]}}]",
        "tools: [{use: search, with: {corpus: folder}}]",
        "student: {model: somebody/on-the-hub}",
        "student: {model: tiny-student, chat_template: hermes}",
    ],
)
def test_what_is_there_is_no_fault(here: Path, line: str) -> None:
    assert faults(here, line) == []


def test_all_are_named_at_once(here: Path) -> None:
    lines = [
        "task: {use: rows, with: {files: {train: a.jsonl, test: b.jsonl}}}",
        "tools: [{use: python, with: {module: c.py}}]",
        "teacher: {use: recorded, with: {path: d}}",
        "seed: -1",
        "student: {model: ./e}",
    ]
    assert [line for line, _ in faults(here, *lines)] == [5]  # what is no recipe is not looked at
    lines[3] = "reward: {use: menotr}"
    assert [line for line, _ in faults(here, *lines)] == [2, 2, 3, 4, 5, 6]


def test_settings_are_named_as_such(here: Path) -> None:
    (here / "recipe.yaml").write_text(f"extends: quickstart\n{ROWS}\n")
    settings = parse_settings(["task.files.train=gone.jsonl"])
    with pytest.raises(RecipeFaults) as error:
        load_checked(here / "recipe.yaml", settings, default_registry(), look=True)
    (fault,) = error.value.faults
    assert str(fault.place) == "--set task.files.train=gone.jsonl"
    assert str(here / "gone.jsonl") in fault.text


def test_checking_references_runs_no_module_of_the_user(here: Path) -> None:
    (here / "loud.py").write_text("raise SystemExit('this was run')\ndef f(): ...\n")
    assert faults(here, "tools: [{use: python, with: {module: loud, functions: [f]}}]") == []


def test_a_look_that_fails_is_its_plugins_fault(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    registry = Registry(load_plugins())
    part = registry.component("teachers", "scripted")

    def look(*_: Any) -> Any:
        raise KeyError("x")

    others = [other for other in registry._all["teachers"] if other is not part]
    monkeypatch.setitem(registry._all, "teachers", [*others, type(part)(**{**vars(part), "look": look})])
    with pytest.raises(RecipeFaults) as error:
        load_checked("quickstart", {}, registry, look=True)
    (fault,) = error.value.faults
    assert fault.text.startswith("teacher")
    assert "mentor" not in fault.text.partition("plugin")[0]
    assert "KeyError" in fault.text


def test_checking_references_imports_nothing_heavy(here: Path) -> None:
    (here / "recipe.yaml").write_text(
        f"extends: quickstart\n{ROWS}\ntools: [{{use: python, with: {{module: sums}}}}]\nstudent: {{model: a/b}}\n"
        "evaluate: {on: []}\n"
    )
    code = """
import sys
from mentor_kit.api import check
check("recipe.yaml")
print([name for name in "torch transformers mlx pandas peft sums pyarrow".split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_name_nothing_that_is_missing_but_their_users_files(name: str) -> None:
    found: list[Fault] = []
    try:
        load_checked(name, {}, default_registry(), look=True)
    except RecipeFaults as error:
        found = error.faults
    assert not found or name.startswith(("paper/", "miniature/", "cluster/"))
    places = [fault.text.partition(": there is no ")[0].split(".") for fault in found]
    assert all({"files", "sets", "path", "corpus", "model"} & set(place) for place in places), found
