"""What the docs site is made of: its sections, its pages, its reference of the Python API, and llms.txt."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import mentor_kit
import mentor_kit.api
import mentor_kit.hooks

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs" / "site"))
site = pytest.importorskip("build_site", reason="the docs' packages are not installed: pip install 'mentor-kit[docs]'")

LINE = re.compile(r"- \[(?P<name>[^]]+)\]\((?P<address>[^)]+)\)(: .+)?")


def test_every_page_is_in_one_section() -> None:
    listed = [entry for entry in site.entries(site.CONFIG["nav"]) if "://" not in entry]
    assert len(listed) == len(set(listed))
    assert listed[0] == "index.md"
    assert set(site.PAGES.values()) <= set(listed)


def test_the_reference_names_modules_that_exist() -> None:
    named = [
        name
        for page in (ROOT / "docs/site/api").glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
    ]
    assert {"mentor_kit", "mentor_kit.api", "mentor_kit.hooks.specs", "mentor_kit.core.tool"} <= set(named)
    assert len(named) == len(set(named))
    for name in named:
        place = ROOT.joinpath(*name.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), name


@pytest.mark.parametrize(
    "package", [mentor_kit, mentor_kit.api, mentor_kit.hooks], ids=lambda package: package.__name__
)
def test_public_names_have_docstrings(package: object) -> None:
    # the reference shows a docstring, or nothing
    names = [name for name in package.__all__ if name.isidentifier() and not name.startswith("__")]  # type: ignore[attr-defined]
    values = [(name, getattr(package, name)) for name in names]
    assert [name for name, value in values if callable(value) and not (value.__doc__ or "").strip()] == []


def test_links_that_leave_the_site_lead_to_the_repository() -> None:
    source = ROOT / "docs" / "tools.md"
    page = site.with_site_links(
        "[a](data.md#rows) [b](../CONTRIBUTING.md#checks) [c](../examples/mentor-kit-weather) [d](../LICENSE)\n"
        "![e](images/loop.svg) [f](https://example.com) [g](#here)\n```\n[h](../LICENSE)\n```\n",
        source,
    )
    assert page == (
        f"[a](data.md#rows) [b](contributing.md#checks) [c]({site.REPOSITORY}/tree/main/examples/mentor-kit-weather) "
        f"[d]({site.REPOSITORY}/blob/main/LICENSE)\n"
        "![e](images/loop.svg) [f](https://example.com) [g](#here)\n```\n[h](../LICENSE)\n```\n"
    )
    assert site.with_site_links("[x](docs/tools.md#mcp)", ROOT / "CONTRIBUTING.md") == "[x](tools.md#mcp)"
    assert site.with_site_links("[x](../tools.md)", ROOT / "docs/notebooks/quickstart.py") == "[x](../tools.md)"


def test_llms_txt_has_its_form_and_every_page() -> None:
    # https://llmstxt.org: a title, a summary in a quotation, text without headings, sections with lists of links
    title, _, summary, *lines = (ROOT / "llms.txt").read_text().splitlines()
    assert title == "# mentor-kit"
    assert summary.startswith("> ")
    sections = [line for line in lines if line.startswith("#")]
    assert all(line.startswith("## ") for line in sections)
    assert "## Optional" in sections
    links = [LINE.fullmatch(line) for line in lines[lines.index(sections[0]) :] if line and not line.startswith("#")]
    assert all(links)
    addresses = [link["address"] for link in links if link]
    pages = {address.removeprefix(site.CONFIG["site_url"]) for address in addresses}
    assert len(pages) == len(addresses)
    assert pages == set(site.PAGES.values())


def test_hooks_in_the_reference_are_all_hooks() -> None:
    specs = ast.parse((ROOT / "mentor_kit/hooks/specs.py").read_text())
    hooks = [node for node in specs.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    assert hooks
    assert [hook.name for hook in hooks if not ast.get_docstring(hook)] == []
