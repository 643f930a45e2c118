"""The built docs site in a real browser: search, copied code that runs as it stands, and no complaints."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import mentor_kit.api
import mentor_kit.hooks.specs

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "docs" / "site"), str(ROOT / "tests" / "report" / "page")]
site = pytest.importorskip("build_site", reason="the docs' packages are not installed: pip install 'mentor-kit[docs]'")
links = pytest.importorskip("links")
from browser import chromium  # noqa: E402

pytestmark = pytest.mark.slow


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    output = tmp_path_factory.mktemp("docs") / "site"
    assert site.build(output) == []
    return output


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The address of a server of the site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


class Tab:
    """A tab of the browser, with every complaint and every request that left the site."""

    def __init__(self, browser: Any, home: str, *, width: int = 1280) -> None:
        self.home = home
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)  # a busy machine takes its time
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._complain(message.text, message.type in ("error", "warning")))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._complain(request.url, self._is_outside(request.url)))
        # a request that ends because the next page is opened is no failure
        self.page.on("requestfailed", lambda failed: self._complain(failed.url, failed.failure != "net::ERR_ABORTED"))

    def _complain(self, about: str, is_complaint: bool) -> None:
        if is_complaint:
            self.complaints.append(about)

    def _is_outside(self, url: str) -> bool:
        return not url.startswith((self.home, "data:", "blob:"))

    def open(self, name: str) -> None:
        self.page.goto(f"{self.home}/{name}", wait_until="networkidle")

    def copy(self, page: str, language: str, text: str) -> str:
        """Press the copy button of a page's first block of code with that text, and return what the clipboard has."""
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.home)
        self.open(page)
        block = self.page.locator(f"div.language-{language}.highlight", has_text=text).first
        block.hover()
        block.locator("button[data-md-type=copy]").click()
        self.page.wait_for_timeout(200)
        copied: str = self.page.evaluate("navigator.clipboard.readText()")
        return copied


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs a command in a folder of its own, where `mentorkit` is this checkout's."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "mentorkit"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mentor_kit.cli "$@"\n')
    command.chmod(0o755)
    paths = os.pathsep.join([str(tmp_path), *map(str, site.IMPORTED)])
    environment = {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def test_the_site_has_no_dead_links(folder: Path) -> None:
    assert links.dead_site_links(folder, "/mentor-kit/") == []


def test_the_reference_has_every_public_name_and_what_hooks_give(folder: Path) -> None:
    inventory = (folder / "objects.inv").read_bytes()
    names = {line.split()[0] for line in zlib.decompress(inventory.split(b"\n", 4)[4]).decode().splitlines()}
    public = [mentor_kit, mentor_kit.api, mentor_kit.hooks]
    offered = {f"{package.__name__}.{name}" for package in public for name in package.__all__ if name != "__version__"}
    given = set(re.findall(r"`(mentor_kit(?:\.\w+)+\.[A-Z]\w+)`", inspect.getsource(mentor_kit.hooks.specs)))
    assert len(given) > 10
    assert (offered | given) - names == set()


#: Whether what is typed goes into a field, in a shadow tree perhaps.
TYPING = """() => {
    let element = document.activeElement;
    while (element?.shadowRoot) element = element.shadowRoot.activeElement;
    return element?.tagName === 'INPUT';
}"""


def wait_for_the_search(tab: Tab) -> None:
    """Ask for the search until it takes what is typed; until its program has come, keys lead elsewhere."""
    for _ in range(100):
        tab.page.keyboard.press("Control+k")
        tab.page.wait_for_timeout(500)
        if tab.page.evaluate(TYPING):
            return
    pytest.fail("there is no search")


@pytest.mark.parametrize("where", ["server", "folder"])
def test_search_finds_a_word(browser: Any, folder: Path, address: str, where: str) -> None:
    tab = Tab(browser, address if where == "server" else f"file://{folder}")
    tab.open("index.html")
    wait_for_the_search(tab)
    tab.page.keyboard.type("reasoning-gym")
    result = tab.page.locator("a[href*='data.html']:visible", has_text="reasoning").first
    result.wait_for(timeout=120_000)
    result.click()
    tab.page.wait_for_url("**/data.html*")
    assert "reasoning-gym" in tab.page.locator("article").inner_text()
    assert tab.complaints == []


@pytest.mark.parametrize("width", [1280, 400])
def test_pages_fit_and_complain_of_nothing(browser: Any, folder: Path, address: str, width: int) -> None:
    tab = Tab(browser, address, width=width)
    for page in sorted(folder.rglob("*.html")):
        if page.name != "404.html":
            tab.open(page.relative_to(folder).as_posix())
            fits = "document.documentElement.scrollWidth <= window.innerWidth"
            assert tab.page.evaluate(fits), page
            assert tab.page.evaluate("[...document.images].filter((image) => !image.naturalWidth).length") == 0, page
    assert tab.complaints == []


def test_lists_are_the_same_as_on_github(browser: Any, address: str) -> None:
    # GitHub's Markdown and the site's differ in where a list begins and how far an entry is indented
    tab = Tab(browser, address)
    for source, page in site.PAGES.items():
        if source.suffix != ".md":
            continue
        tab.open(page.replace(".md", ".html"))
        expected = sum(token.type in ("list_item_open", "tr_open") for token in links.parsed(source.read_text()))
        assert tab.page.locator("article li, article tr").count() == expected, page


@pytest.mark.timeout(1800)  # a whole quickstart, and its evaluation
def test_copied_shell_commands_run(browser: Any, address: str, run: Any, tmp_path: Path) -> None:
    commands = Tab(browser, address).copy("commands.html", "shell", "mentorkit run quickstart")
    assert commands.splitlines()[0].startswith("mentorkit check quickstart")
    run("bash", "-euo", "pipefail", "-c", commands)
    assert len(list(tmp_path.glob("runs/quickstart*/*/recipe.yaml"))) >= 1


def test_a_copied_recipe_is_one(browser: Any, address: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(Tab(browser, address).copy("recipes.html", "yaml", "mentorkit: 1"))
    run("mentorkit", "check", "recipe.yaml")


def test_copied_python_runs(browser: Any, address: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(Tab(browser, address).copy("recipes.html", "python", "mentor_kit.run("))
    run(sys.executable, "mine.py")
    assert len(list(tmp_path.glob("runs/mine/*/recipe.yaml"))) == 1


def test_a_copied_plugin_follows_a_run(browser: Any, address: str, run: Any, tmp_path: Path) -> None:
    tab = Tab(browser, address)
    plugin = tab.copy("trackers.html", "python", "class EventsFile(")
    recipe = tab.copy("trackers.html", "yaml", "events-file")
    (tmp_path / "events_file.py").write_text(plugin)
    metadata = tmp_path / "events_file-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: events-file\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[mentorkit]\nevents = events_file\n")
    (tmp_path / "recipe.yaml").write_text(
        f"extends: quickstart\nevaluate: {{on: [{{split: in-domain, problems: 2}}]}}\n{recipe}"
    )
    run("mentorkit", "run", "recipe.yaml", "--set", "train.0.steps=1", "--set", "train.0.problems=2")
    assert len(list(tmp_path.glob("tracked/*.jsonl"))) == 1
