"""docs/tools.md and docs/data.md: examples are right, and every option is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from mentor_kit.core.component import Kind
from mentor_kit.hooks import default_registry
from mentor_kit.recipe.checking import load_checked

DOCS = Path(__file__).parents[3] / "docs"
TEXTS = {
    name: (DOCS / name).read_text(encoding="utf-8")
    for name in ("tools.md", "data.md", "conversations.md", "evaluation.md")
}
EXAMPLES = [text for page in TEXTS.values() for text in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_are_right(tmp_path: Path, number: int) -> None:
    recipe = tmp_path / "recipe.yaml"
    # the quickstart evaluates on splits of its own task
    splits = "" if "evaluate:" in EXAMPLES[number] else "evaluate: {on: []}\n"
    recipe.write_text(f"extends: quickstart\n{splits}{EXAMPLES[number]}", encoding="utf-8")
    load_checked(recipe, {}, default_registry())


PARTS: list[tuple[str, Kind, str]] = [
    ("tools.md", "tools", "python"),
    ("tools.md", "tools", "mcp"),
    ("tools.md", "tools", "search"),
    ("tools.md", "tools", "code"),
    ("data.md", "tools", "problem-tools"),
    ("data.md", "tasks", "rows"),
    ("data.md", "tasks", "datasets"),
    ("conversations.md", "tasks", "conversations"),
    ("data.md", "tasks", "mentor-parquet"),
    ("data.md", "tasks", "reasoning-gym"),
    ("data.md", "tasks", "benchmarks"),
    ("evaluation.md", "tasks", "bfcl"),
    ("evaluation.md", "tools", "bfcl"),
]


@pytest.mark.parametrize(("page", "kind", "name"), PARTS)
def test_every_option_is_explained(page: str, kind: Kind, name: str) -> None:
    for option in _names(default_registry().components(kind)[name].options):
        assert f"`{option}`" in TEXTS[page], option


def _names(model: type[BaseModel]) -> set[str]:
    """The model's options, and those of models inside it."""
    found = set(model.model_fields)
    for info in model.model_fields.values():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found |= _names(info.annotation) if info.annotation.__name__ == "Columns" else set()
    return found


def test_limits_are_explained() -> None:
    from mentor_kit_tools.limits import Limits

    for name in Limits.model_fields:
        assert f"`{name}`" in TEXTS["tools.md"], name
