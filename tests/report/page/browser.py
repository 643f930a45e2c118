"""A page in a real browser: Debian's chromium, without a window."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where there is none."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed: apt-get install chromium")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A page that is open in a browser, with what it asked for and complained about."""

    def __init__(self, browser: Any, url: str, *, width: int = 1300, height: int = 900, dark: bool = False) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)  # a busy machine takes its time
        self.url = url
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.goto(url)
        self.settle()

    def settle(self) -> None:
        """Wait until the place that the address names is drawn."""
        # a function that the page waits for itself would need `eval`, which its policy forbids
        end = time.monotonic() + 120
        while not self.page.evaluate(
            "typeof MentorKit === 'object' && MentorKit.settled !== undefined && MentorKit.settled()"
        ):
            assert time.monotonic() < end, self.complaints
            time.sleep(0.01)

    def show(self, **place: object) -> None:
        """Go to a place by its hash."""
        self.page.evaluate("place => { location.hash = MentorKit.address(place); }", place)
        self.settle()

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()

    @property
    def place(self) -> dict[str, str]:
        """The place that the address names."""
        found: dict[str, str] = self.page.evaluate("MentorKit.place()")
        return found

    def texts(self, selector: str) -> list[str]:
        """The text of every element."""
        found: list[str] = self.page.eval_on_selector_all(selector, "all => all.map((each) => each.textContent)")
        return found

    def text(self, selector: str) -> str:
        """The text of the only element."""
        (found,) = self.texts(selector)
        return found

    def attributes(self, selector: str, name: str) -> list[str]:
        """An attribute of every element."""
        return list(self.page.eval_on_selector_all(selector, f"all => all.map((each) => each.getAttribute({name!r}))"))

    def close(self) -> None:
        """Close it."""
        self.context.close()


def shown_calls(tab: Tab, column: str) -> list[str]:
    """The calls in a column of dialogues, as text."""
    return tab.texts(f'[data-column="{column}"] .call code')
