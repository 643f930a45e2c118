"""Every dotted name, file and link that documentation, docstrings and comments mention exists."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT, ROOT / "backends", ROOT / "plugins", *sorted((ROOT / "examples").iterdir()))
NAME = re.compile(r"(?<![\w./-])mentor_kit(?:_[a-z]+)?(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(
    r"(?<![\w./-])(?:mentor_kit|backends|plugins|docs|recipes|examples|benchmarks|tests)/[\w./-]*\.(?:py|md|yaml|csv|svg|jsonl)"
)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


def _tracked(*patterns: str) -> list[Path]:
    found = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in found.stdout.splitlines() if (ROOT / name).is_file()]


def _documents() -> list[Path]:
    """Documentation and sources; the changelog names what was, and tests write plugins of their own."""
    documents = _tracked("*.md", "*.py", "*.yaml", "*.toml", "Makefile")
    return [path for path in documents if path.name != "CHANGELOG.md" and ROOT / "tests" not in path.parents]


@cache
def _names(module: Path) -> frozenset[str]:
    """The top-level names of a module, and `Class.attribute` of its classes."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ClassDef):
            names.update(f"{node.name}.{inner}" for statement in node.body for inner in _bound(statement))
        names.update(_bound(node))
    return frozenset(names)


def _bound(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _exists(name: str) -> bool:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        for source in SOURCES:
            place = source.joinpath(*parts[:count])
            module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            if module.is_file():
                rest = ".".join(parts[count:])
                # an exported class's attributes are not followed further
                return not rest or rest in _names(module) or (rest.partition(".")[0] in _names(module) and count == 1)
    return False


def test_dotted_names_exist() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _documents()
        for name in NAME.findall(path.read_text())
        if not _exists(name)
    ]
    assert wrong == []


def test_files_exist() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in _documents()
        for name in FILE.findall(path.read_text())
        if not any((folder / name).is_file() for folder in (ROOT, path.parent))
    ]
    assert wrong == []


def test_links_lead_to_files() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in _tracked("*.md")
        for link in LINK.findall(path.read_text())
        if "://" not in link and not (path.parent / link).exists()
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mentor_kit.core.task.Task", True),
        ("mentor_kit.core.task.Task.solve", True),
        ("mentor_kit.rollout", True),
        ("mentor_kit.core.task.Tusk", False),
        ("mentor_kit.core.tusk", False),
        ("mentor_kit.core.task.Task.sulve", False),
    ],
)
def test_what_counts_as_existing(name: str, found: bool) -> None:
    assert _exists(name) is found
