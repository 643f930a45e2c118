"""Fixtures of the checks in a real browser."""

import pytest
from browser import Tab, chromium
from page_helpers import write_page_run

from mentor_kit.report.page import write_page
from mentor_kit.runs import Run


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_page_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def open_page(browser, tmp_path):
    tabs = []

    def open_runs(*folders, **options):
        write_page([Run(folder) for folder in folders], tmp_path / "run.html")
        tabs.append(Tab(browser, f"file://{tmp_path / 'run.html'}", **options))
        return tabs[-1]

    yield open_runs
    for tab in tabs:
        tab.close()
        assert tab.complaints == []
        assert {request.split("#")[0] for request in tab.requests} == {tab.url}
