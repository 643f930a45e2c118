"""The tutorial's files are right, and its commands run one after the other, with a tiny student for the hub's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = list(BLOCK.finditer(TEXT))
NAMED = re.compile(r"Save this as\s+`([\w.]+)`:$")
FILES = {name[1]: block["code"] for block in BLOCKS if (name := NAMED.search(TEXT[: block.start()].rstrip()))}
COMMANDS = [line for block in BLOCKS if block["language"] == "shell" for line in block["code"].splitlines()]
INSTALLING = ("python3 -m venv", "source ", "pip install")
#: What a run for checks has in place of a reader's: a student that comes along, two steps, few problems.
SMALLER = {
    "model: Qwen/Qwen3-0.6B, adapter": "model: tiny-student, adapter",
    "steps: 60, problems: 8, group: 8": "steps: 2, problems: 2, group: 2",
    "max_response_tokens: 512": "max_response_tokens: 256",
    "problems: 50": "problems: 4",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the tutorial's files."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Callable[[str], str]:
    """Runs a command line in the folder, where `mentorkit` and `python` are this checkout's."""
    programs = tmp_path_factory.mktemp("programs")
    for name, arguments in {"mentorkit": "-m mentor_kit.cli", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    paths = os.pathsep.join(str(ROOT / name) for name in (".", "backends", "plugins"))
    environment = {**os.environ, "PYTHONPATH": paths, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def test_the_page_has_the_files_and_commands() -> None:
    assert set(FILES) == {"parcels.py", "make_rows.py", "recipe.yaml"}
    assert [line for line in COMMANDS if line.startswith("mentorkit run")] == [
        "mentorkit run recipe.yaml --dry-run",
        "mentorkit run recipe.yaml",
    ]
    assert TEXT.count("```") == 2 * len(BLOCKS)


def test_the_first_row_is_the_pages(folder: Path, run: Callable[[str], str]) -> None:
    run("python make_rows.py")
    shown = next(json.loads(block["code"]) for block in BLOCKS if block["language"] == "json")
    train, test = ((folder / name).read_text().splitlines() for name in ("train.jsonl", "test.jsonl"))
    assert json.loads(train[0]) == shown
    assert (len(train), len(test)) == (200, 50)
    questions = [json.loads(line)["question"] for line in test]
    assert all(("Athens" in question) != ("Tromso" in question) for question in questions)


def test_the_recipe_is_right_as_it_stands(run: Callable[[str], str]) -> None:
    run("python make_rows.py")
    assert "recipe.yaml" in run("mentorkit check recipe.yaml")


@pytest.mark.slow
def test_every_command_runs(folder: Path, run: Callable[[str], str]) -> None:
    recipe = folder / "recipe.yaml"
    for ours, smaller in SMALLER.items():
        assert recipe.read_text().count(ours) == 1, ours
        recipe.write_text(recipe.read_text().replace(ours, smaller))
    said = {line: run(line) for line in COMMANDS if not line.startswith(INSTALLING)}
    assert said["mentorkit preview recipe.yaml"].count("demonstration by scripted: right, earns 1.1") == 3
    assert (folder / "parcels.html").stat().st_size > 10_000
    assert (folder / "parcels-student").is_dir()
    # the stage that the page adds where a student calls no tool
    stages = next(block["code"] for block in BLOCKS if block["code"].startswith("train:"))
    changed = re.sub(r"train:\n.*?(?=evaluate:)", lambda _: stages, recipe.read_text(), flags=re.DOTALL)
    recipe.write_text(
        changed.replace("steps: 60, problems: 8", "steps: 1, problems: 2").replace("steps: 20", "steps: 1")
    )
    assert "sft" in run("mentorkit run recipe.yaml")
