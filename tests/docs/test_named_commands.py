"""Every command line that the documentation shows names commands and options that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mentor_kit.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MENTORKIT: Any = typer.main.get_command(app)


def lines(page: Path) -> Iterator[str]:
    """The command lines of a page's blocks of code, without comments."""
    for block in FENCE.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#.*", "", line.strip().removeprefix("$ ")).split(" | ")[-1]
            if command.startswith("mentorkit "):
                yield command


def fault(line: str) -> str | None:
    """What is wrong with a command line."""
    command, words = MENTORKIT, shlex.split(line)[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known - {"--help"}
    return f"no option {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_exist(page: Path) -> None:
    assert [(line, wrong) for line in lines(page) if (wrong := fault(line))] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("mentorkit run quickstart --set train.0.steps=2 --dry-run", None),
        ("mentorkit data convert a.jsonl b.jsonl --to trl", None),
        ("mentorkit rum quickstart", "no command rum"),
        ("mentorkit run quickstart --dry", "no option --dry"),
        ("mentorkit data convert a b --two=trl", "no option --two"),
    ],
)
def test_what_is_a_fault(line: str, wrong: str | None) -> None:
    assert fault(line) == wrong


def test_pages_show_commands() -> None:
    assert sum(1 for page in PAGES for _ in lines(page)) > 80


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = {
            name
            for block in FENCE.findall(page.read_text())
            for name in re.findall(r"^make (\w[\w-]*)", block, re.MULTILINE)
        }
        assert named <= targets, page.name
