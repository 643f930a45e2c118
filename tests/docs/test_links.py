"""Dead links are found, in Markdown and in a built site, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs" / "site"))
links = pytest.importorskip("links", reason="the site is not there")


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [  # as GitHub makes them
        ("Where things are", "where-things-are"),
        ("One GPU with 24 GB", "one-gpu-with-24-gb"),
        ("What corresponds to what?", "what-corresponds-to-what"),
        ("train: `sft`, `grpo`", "train-sft-grpo"),
        ("reasoning-gym", "reasoning-gym"),
        ("Why A & B", "why-a--b"),
        ("`tool_calls` in data", "tool_calls-in-data"),
    ],
)
def test_anchors_are_githubs(tmp_path: Path, heading: str, anchor: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n## {heading}\n\n```\n# no heading\n```\n")
    assert links.anchors_of(page) == {"title", anchor}


def test_headings_of_the_same_name_have_anchors_of_their_own(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n## B\n\n## B\n\n## B\n")
    assert links.anchors_of(page) == {"a", "b", "b-1", "b-2"}


def test_dead_links_of_markdown_are_named_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").write_text(
        "# There\n\n## A heading\n\n[up](../README.md) [home](https://example.com/x)\n"
    )
    (tmp_path / "README.md").write_text(
        "# Readme\n\n[fine](docs/there.md#a-heading) [folder](docs) [here](#readme)\n\n"
        "`[code](nowhere.md)`\n\n```\n[fenced](nowhere.md)\n```\n\n"
        "[gone](docs/gone.md)\n\n| a table |\n| --- |\n| [bad](docs/there.md#no-heading) |\n\n![picture](gone.png)\n\n"
        "[self](#nix)\n"
    )
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert [fault.rsplit(": ", 1)[0] for fault in links.dead_markdown_links(tmp_path)] == [
        "README.md:11: docs/gone.md",
        "README.md:15: docs/there.md#no-heading",
        "README.md:17: gone.png",
        "README.md:19: #nix",
    ]


def test_dead_links_of_a_site(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "style.css").touch()
    (tmp_path / "api" / "core.html").write_text('<h1 id="top">Core</h1> <a href="../index.html#there">home</a>')
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="style.css"> <link rel="stylesheet" href="https://elsewhere.org/style.css">'
        '<p id="there"> <a href="api/core.html#top">fine</a> <a href="api/">no page</a> <img src="gone.png">'
        '<a href="api/core.html#nix">x</a> <a href="#nix">x</a> <a href="https://example.com/">web</a>'
        '<a href="/base/style.css">fine</a>'
        '<script src="https://elsewhere.org/x.js"></script> <link rel="canonical" href="https://example.org/">'
    )
    assert {fault.rsplit(": ", 1)[0] for fault in links.dead_site_links(tmp_path, "/base/")} == {
        "index.html: https://elsewhere.org/style.css",
        "index.html: https://elsewhere.org/x.js",
        "index.html: api/",
        "index.html: api/core.html#nix",
        "index.html: #nix",
        "index.html: gone.png",
    }


def test_the_repositorys_links_lead_somewhere() -> None:
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("not a git checkout")
    assert links.dead_markdown_links(ROOT) == []
