"""A format that a plugin adds, as docs/conversations.md shows it: found out by itself, and used by the task."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from data_helpers import json_lines
from published_rows import MAKERS, rows

from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.conversation import assistant, user
from mentor_kit.core.errors import DataError, PluginError
from mentor_kit.hooks import BuildContext, Registry, hookimpl, load_plugins
from mentor_kit.hooks.data_formats import data_formats

DOCS = Path(__file__).parents[3] / "docs" / "conversations.md"
PAIRS = [{"ask": "Who are you?", "reply": "A student."}, {"ask": "And I?", "reply": "A reader."}]


def documented() -> dict[str, Any]:
    """The names of the page's example."""
    (source,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    return names


def with_plugin(**functions: object) -> Registry:
    """The plugins of this environment, and one more with these functions."""
    plugins = load_plugins(entry_points(group="mentorkit"))
    module = ModuleType("theirs")
    vars(module).update(functions)
    plugins.manager.register(module, name="theirs")
    return Registry(plugins)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return with_plugin(register_formats=documented()["register_formats"])


def task_of(registry: Registry, folder: Path, **options: Any) -> Any:
    spec = ComponentSpec.model_validate({"use": "conversations", "with": {"files": {"train": "data.jsonl"}, **options}})
    return registry.build("tasks", spec, BuildContext(registry, recipe_folder=folder))


def test_it_is_asked_before_the_built_in_ones(registry: Registry) -> None:
    assert next(iter(data_formats(registry))) == "pairs"
    assert set(data_formats(registry)) == {"pairs", "mentor", "sts", *MAKERS}
    assert registry.component("formats", "pairs").owner == "theirs"


@pytest.mark.parametrize("name", ["auto", "pairs"])
def test_its_rows_are_problems(registry: Registry, tmp_path: Path, name: str) -> None:
    json_lines(tmp_path / "data.jsonl", *PAIRS)
    task = task_of(registry, tmp_path, format=name, check="text", answer="text")
    found = {problem.question: problem.answer for problem in task.problems("train", 0, 10)}
    assert found == {pair["ask"]: pair["reply"] for pair in PAIRS}


def test_its_faults_name_the_row_and_the_column(registry: Registry, tmp_path: Path) -> None:
    json_lines(tmp_path / "data.jsonl", *PAIRS, {"ask": 3, "reply": "?"})
    with pytest.raises(DataError) as caught:
        task_of(registry, tmp_path)
    assert "data.jsonl, row 3, column ask: expected a string, found 3" in caught.value.message


def test_files_of_other_formats_are_found_out_beside_it(registry: Registry, tmp_path: Path) -> None:
    json_lines(tmp_path / "data.jsonl", *rows("hermes"))
    assert len(task_of(registry, tmp_path).problems("train", 0, 100)) == 10
    json_lines(tmp_path / "data.jsonl", *rows("hermes"), *PAIRS)
    with pytest.raises(DataError, match="row 11 pairs"):
        task_of(registry, tmp_path)


def test_the_documented_reader_gives_the_dialogue() -> None:
    assert documented()["Pairs"]().read(PAIRS[0]).messages == (user("Who are you?"), assistant("A student."))


def test_something_else_than_a_format_is_the_plugins_fault() -> None:
    @hookimpl
    def register_formats(register):
        register("odd", build=lambda options, context: dict)

    with pytest.raises(PluginError) as caught:
        data_formats(with_plugin(register_formats=register_formats))
    assert "'theirs'" in caught.value.message
