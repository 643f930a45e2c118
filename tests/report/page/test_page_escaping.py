"""What a student, a tool, a problem or a recipe writes is data of the page, never a part of its markup."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_helpers import HOSTILE, ReadPage, write_page_run

import mentor_kit.report.page as package
from mentor_kit.report.page import live_page, write_page
from mentor_kit.report.page.document import LIST_SCRIPTS, SCRIPTS
from mentor_kit.runs import Run

CLIENT = Path(package.__file__).parent / "client"


class Elements(HTMLParser):
    """The elements of a document with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(html)
    return parser.found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of a harmless run and of one with markup and scripts everywhere."""
    found = []
    for text in ("plain", HOSTILE):
        root = tmp_path_factory.mktemp("runs")
        write_page([Run(write_page_run(root, text))], root / "run.html")
        found.append(ReadPage(root / "run.html"))
    return found


def test_markup_in_a_run_does_not_change_the_documents_elements(pages):
    plain, hostile = (elements(page.html) for page in pages)
    assert [tag for tag, _ in plain] == [tag for tag, _ in hostile]
    for (_, ours), (_, theirs) in zip(plain, hostile, strict=True):
        assert ours == theirs


def test_no_text_of_a_run_stands_in_the_markup(pages):
    for piece in ("window.hit", "onerror", "</script><script>window", "question", "small", "train-1"):
        shell = re.sub(r'(<script type="application/gzip" id="[\w-]+">)[\w+/=]*', r"\1", pages[1].html)
        for name in SCRIPTS:
            shell = shell.replace((CLIENT / name).read_text(encoding="utf-8"), "")
        shell = re.sub(r"<style>.*?</style>", "", shell, flags=re.DOTALL)
        assert piece not in shell


def test_the_text_itself_is_kept_whole(pages):
    attempt = pages[1].chunk("rollouts/0-grpo/1")["problems"][0]["attempts"][0]
    assert attempt["answer"] == f"3 {HOSTILE}"
    assert attempt["messages"][0]["tool_calls"][0]["arguments"]["b"] == HOSTILE


@pytest.mark.parametrize("live", [False, True])
def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(pages, live):
    html = live_page("") if live else pages[0].html
    (policy,) = [
        attributes["content"]
        for tag, attributes in elements(html)
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert rules.pop("connect-src", None) == ("'self'" if live else None)
    for kind, pattern in (("script-src", r"<script>(.*?)</script>"), ("style-src", r"<style>(.*?)</style>")):
        inline = list(re.findall(pattern, html, re.DOTALL))
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline]
        assert rules.pop(kind).split() == [f"'sha256-{each}'" for each in hashes]
    assert not rules
    assert not [attributes for _, attributes in elements(html) if {"src", "href", "style"} & set(attributes)]
    assert not [name for _, attributes in elements(html) for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("name", sorted({name for name in SCRIPTS + LIST_SCRIPTS if not name.startswith("vendor/")}))
def test_scripts_make_no_markup_from_strings(name):
    text = (CLIENT / name).read_text(encoding="utf-8")
    for means in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "DOMParser",
        "srcdoc",
    ):
        assert means not in text
    assert "</script" not in text


def test_every_file_of_the_page_is_small():
    for file in CLIENT.rglob("*"):
        if file.is_file() and file.parent.name != "vendor":
            assert len(file.read_text(encoding="utf-8").splitlines()) <= 400, file
    assert {f"vendor/{file.name}" for file in (CLIENT / "vendor").glob("*.js")} | {
        file.name for file in CLIENT.glob("*.js")
    } == set(SCRIPTS + LIST_SCRIPTS)


def test_uplot_stands_there_with_its_licence():
    assert "v1.6.32" in (CLIENT / "vendor" / "uPlot.iife.min.js").read_text(encoding="utf-8")[:200]
    assert "MIT License" in (CLIENT / "vendor" / "uPlot.LICENSE").read_text(encoding="utf-8")
