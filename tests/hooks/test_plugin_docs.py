"""The pages on plugins show the example packages as they are, and each kind has a section."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mentor_kit.api.scaffold.hook_module import hooks_of
from mentor_kit.api.scaffold.samples import SAMPLES, example_folder, module_of

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("plugins*.md"))
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
FILE = re.compile(r"^`(examples/[\w./-]+)`:\n\n```(?:python|yaml)\n(.*?)^```", re.M | re.S)
HOOK = re.compile(r"^Its hook:\n\n```python\n(.*?)\n```", re.M | re.S)


@pytest.mark.parametrize(("file", "shown"), FILE.findall(TEXT), ids=lambda value: value if "\n" not in value else "")
def test_files_are_shown_as_they_are(file: str, shown: str) -> None:
    assert shown == (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind)
def test_every_kind_is_shown_whole_with_its_hook(sample: object) -> None:
    assert isinstance(sample, type(SAMPLES[0]))
    folder = example_folder(sample.example) / module_of(sample.example)
    files = {file for file, _ in FILE.findall(TEXT)}
    if sample.files:
        assert f"examples/{folder.parent.name}/{folder.name}/{sample.files[0]}" in files
    assert hooks_of((folder / "__init__.py").read_text(encoding="utf-8"))[sample.hook] in TEXT
    assert f"`--{sample.flag}`" in TEXT


def test_every_hook_that_is_shown_is_one_of_an_example() -> None:
    hooks = {
        hook
        for name in ("weather", "objectives", "numpy")
        for hook in hooks_of((example_folder(name) / module_of(name) / "__init__.py").read_text("utf-8")).values()
    }
    shown = HOOK.findall(TEXT)
    assert shown
    assert set(shown) <= hooks


def test_the_lines_of_recipes_are_yaml() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    assert blocks
    for block in blocks:
        assert isinstance(YAML(typ="safe", pure=True).load(block), dict)
