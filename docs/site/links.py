"""Dead links: in the repository's Markdown, by GitHub's rules for anchors, and in a built site.

An address on the web is not requested. What is checked is everything that this repository answers for: files, headings,
pictures, and that a built page fetches nothing from elsewhere.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

_FETCHED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src"}
_FETCHED_RELATIONS = {"stylesheet", "preload", "modulepreload", "icon", "preconnect", "dns-prefetch"}


def dead_markdown_links(root: Path) -> list[str]:
    """Return the dead relative links of the repository's tracked Markdown, each as `file:line: link: reason`.

    Args:
        root: the folder of a git checkout.
    """
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True, check=True)
    files = [root / name for name in listed.stdout.splitlines() if (root / name).is_file()]
    return [fault for file in files for fault in _dead_in_file(file, root)]


def _dead_in_file(file: Path, root: Path) -> list[str]:
    faults = []
    for line, link in links_of(file.read_text()):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        place = f"{file.relative_to(root)}:{line}: {link}"
        if not target.exists():
            faults.append(f"{place}: no such file")
        elif parts.fragment and target.suffix == ".md" and unquote(parts.fragment) not in anchors_of(target):
            faults.append(f"{place}: {target.name} has no such heading")
    return faults


def links_of(text: str) -> list[tuple[int, str]]:
    """Return the links and pictures of a Markdown string: the line of their paragraph (from 1), and their address."""
    found = []
    for token in parsed(text):
        line = token.map[0] + 1 if token.map else 0
        for child in token.children or ():
            address = child.attrGet("href") or child.attrGet("src")
            if isinstance(address, str):
                found.append((line, address))
    return found


@cache
def anchors_of(file: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives the headings of a Markdown file."""
    tokens = parsed(file.read_text())
    anchors: set[str] = set()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            base = github_anchor("".join(child.content for child in inline.children or ()))
            copies = (f"{base}-{count}" for count in range(1, len(anchors) + 1))
            anchors.add(base if base not in anchors else next(copy for copy in copies if copy not in anchors))
    return frozenset(anchors)


def github_anchor(heading: str) -> str:
    """Return the anchor of a heading: lower case, hyphens for spaces, and no other punctuation than `-` and `_`."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def parsed(text: str) -> list[Token]:
    """Return the tokens of a Markdown string, by CommonMark's rules and with tables."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def dead_site_links(site: Path, base: str = "/") -> list[str]:
    """Return the dead links of a site's pages, and what its pages would fetch from elsewhere, as `page: link: reason`.

    Args:
        site: the site's folder.
        base: the path of the site's address, by which the page for missing addresses refers to files.
    """
    pages = {path: _Page.read(path) for path in sorted(site.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site)
        faults += [f"{name}: {link}: fetched from elsewhere" for link in page.fetched if urlsplit(link).netloc]
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if parts.path.startswith(base):
                target = site / unquote(parts.path).removeprefix(base)
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                faults.append(f"{name}: {link}: no such file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                faults.append(f"{name}: {link}: no such anchor")
    return faults


class _Page(HTMLParser):
    """An HTML page's anchors, its links, and what a browser fetches when it opens the page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []

    @classmethod
    def read(cls, path: Path) -> _Page:
        page = cls()
        page.feed(path.read_text())
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors.update(values[key] for key in ("id", "name") if key in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        relations = set(values.get("rel", "").split())
        if tag == "link" and relations & _FETCHED_RELATIONS and "href" in values:
            self.fetched.append(values["href"])
        if values.get(_FETCHED.get(tag, "")):
            self.fetched.append(values[_FETCHED[tag]])
