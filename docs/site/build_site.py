"""Builds the docs site from docs/ into a folder: `python docs/site/build_site.py [--output build/site]`.

    docs/*.md ────────────────┐
    CONTRIBUTING, CHANGELOG ──┤ staged: links that leave the site lead to the repository
    docs/site/api/*.md ───────┼──> pages ──Zensical, with mkdocstrings──> site ──checked──> done, or what is wrong
    docs/notebooks/*.py ──────┘ jupytext

The pages are plain Markdown that GitHub shows, too. A dead link, a missing heading, a page in no section, and a picture
or script from elsewhere end the build with exit code 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jupytext
from links import dead_markdown_links, dead_site_links

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent
ROOT = DOCS.parent
IMPORTED = (ROOT, ROOT / "backends", ROOT / "plugins")
CONFIG: dict[str, Any] = tomllib.loads((HERE / "zensical.toml").read_text())["project"]
REPOSITORY: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]

#: The pages of the site that are files of the repository, by their files.
PAGES = {
    **{path: path.name for path in sorted(DOCS.glob("*.md"))},
    **{path: f"notebooks/{path.stem}.md" for path in sorted((DOCS / "notebooks").glob("*.py"))},
    ROOT / "CONTRIBUTING.md": "contributing.md",
    ROOT / "CHANGELOG.md": "changelog.md",
}
#: The folders of docs/ with what the pages show: pictures, and pages that mentorkit wrote.
SHOWN = ("images", "reports")
#: What Zensical's pages load from elsewhere, for search in pages that are opened from a folder.
WORKER_SHIM = "https://unpkg.com/iframe-worker/shim"

_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=#|\))")
_FENCE = re.compile(r"\s*(```|~~~)")


def main() -> int:
    """Build the site, print where it is or what is wrong with it, and return the exit code."""
    parser = argparse.ArgumentParser(description="Builds the docs site.")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site", help="the folder, which is replaced")
    output = parser.parse_args().output.resolve()
    faults = dead_markdown_links(ROOT) or build(output) or dead_site_links(output, urlsplit(CONFIG["site_url"]).path)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"{len(list(output.rglob('*.html')))} pages: {output / 'index.html'}")
    return 1 if faults else 0


def build(output: Path) -> list[str]:
    """Build the site into `output`, which is replaced; return what is wrong."""
    work = output.with_name(f"{output.name}-work")
    shutil.rmtree(work, ignore_errors=True)
    pages, site = work / CONFIG["docs_dir"], work / CONFIG["site_dir"]
    stage(pages)
    faults = unlisted(pages) or run_zensical(work)
    if not faults:
        shutil.copytree(pages, site, dirs_exist_ok=True)  # every page's Markdown beside it, for llms.txt
        load_worker_shim_from(site)
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(site, output)
    shutil.rmtree(work)
    return faults


def stage(pages: Path) -> None:
    """Write the pages that Zensical reads, and beside them the files that they show or offer."""
    pages.mkdir(parents=True)
    for path, page in PAGES.items():
        if path.suffix == ".md":
            (pages / page).write_text(with_site_links(path.read_text(), path))
        else:
            stage_notebook(path, (pages / page).parent)
    for folder in (*(DOCS / name for name in SHOWN), HERE / "api"):
        shutil.copytree(folder, pages / folder.name)
    for file in (HERE / "site.css", HERE / "favicon.svg", ROOT / "llms.txt"):
        shutil.copy(file, pages)


def stage_notebook(script: Path, folder: Path) -> None:
    """Write a percent script as a notebook, and as a page that offers the notebook."""
    folder.mkdir(exist_ok=True)
    notebook = jupytext.read(script)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # a notebook is opened anywhere
            cell.source = with_site_links(cell.source, script, CONFIG["site_url"])
    jupytext.write(notebook, folder / f"{script.stem}.ipynb")
    notebook = jupytext.read(script)
    notebook.metadata = {"jupytext": {"notebook_metadata_filter": "-all"}}
    title, _, rest = jupytext.writes(notebook, fmt="md").strip().partition("\n")
    offer = f"[Download this notebook]({script.stem}.ipynb), for Jupyter, Colab or Kaggle."
    (folder / f"{script.stem}.md").write_text(with_site_links(f"{title}\n\n{offer}\n{rest}\n", script))


def with_site_links(text: str, source: Path, site: str = "") -> str:
    """Return a page with the links that are right on the site.

    A link to a file that is a page leads to the page, in whatever folder the file is. A link to another file or folder
    of the repository leads to its address on the web.

    Args:
        text: the page's Markdown.
        source: the page's file, to which its links are relative.
        site: the site's address, for a page that is read elsewhere.
    """
    up = "../" * len(source.parent.relative_to(DOCS).parts) if source.is_relative_to(DOCS) else ""

    def on_the_site(link: re.Match[str]) -> str:
        target = (source.parent / link[0]).resolve()
        if target in PAGES:
            return f"{site}{PAGES[target].removesuffix('.md')}.html" if site else up + PAGES[target]
        if not target.is_relative_to(ROOT) or not target.exists():
            return link[0]
        if any(target.is_relative_to(DOCS / name) for name in SHOWN):
            return up + target.relative_to(DOCS).as_posix()
        return f"{REPOSITORY}/{'tree' if target.is_dir() else 'blob'}/main/{target.relative_to(ROOT)}"

    return "".join(line if is_code else _LINK.sub(on_the_site, line) for line, is_code in lines_of(text))


def lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Yield every line of a Markdown string, and whether it belongs to a fenced block of code."""
    fenced = False
    for line in text.splitlines(keepends=True):
        fence = _FENCE.match(line) is not None
        yield line, fenced or fence
        fenced ^= fence


def unlisted(pages: Path) -> list[str]:
    """Return a fault for every page that is in no section, and for every entry of a section without a page."""
    listed = {entry for entry in entries(CONFIG["nav"]) if not urlsplit(entry).scheme}
    present = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}
    place = "`nav` of docs/site/zensical.toml"
    return [f"{page}: no section of {place} has this page" for page in sorted(present - listed)] + [
        f"{page}: {place} has it, and there is no such page" for page in sorted(listed - present)
    ]


def entries(nav: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the pages and addresses of all sections, in their order."""
    for section in nav:
        for entry in section.values():
            yield from entries(entry) if isinstance(entry, list) else (entry,)


def run_zensical(work: Path) -> list[str]:
    """Build the staged pages of a folder, and return what Zensical says where it finds faults."""
    shutil.copy(HERE / "zensical.toml", work)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, IMPORTED)), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    # its own traceback says no more than that it stopped
    return [said.partition("Traceback (most recent call last)")[0].strip() or said] if done.returncode else []


def load_worker_shim_from(site: Path) -> None:
    """Let the pages load the shim of search from the site, so that nothing is fetched from elsewhere."""
    shutil.copy(HERE / "iframe-worker.js", site / "assets" / "javascripts")
    for page in site.rglob("*.html"):
        up = "../" * len(page.parent.relative_to(site).parts)
        page.write_text(page.read_text().replace(WORKER_SHIM, f"{up}assets/javascripts/iframe-worker.js"))


if __name__ == "__main__":
    sys.exit(main())
