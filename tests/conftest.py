"""What all tests share: how much of them a quick run takes, and how much `make slow`.

`--minutes N` is for where time is short whatever the machine: no test begins after N minutes. The order then begins at
another file for each commit, so that in the long run every test is run; a line at the end counts those that were not.
With `--each-kind` it has a test of each class or function first, then a second one of each; and a line counts the kinds
of which none was run.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set

import pytest
from hypothesis import settings

# A slow machine is no fault of the code: speed is measured in benchmarks/. Where changes are judged, property tests
# look at the same examples each time; everywhere else at new ones.
EXAMPLES = int(os.environ.get("EXAMPLES", "200"))
settings.register_profile("full", max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ)
settings.register_profile("quick", settings.get_profile("full"), max_examples=25)


UNTIL = "MENTOR_KIT_TESTS_UNTIL"  # seconds since the epoch; the environment tells the worker processes
NOT_RUN = "no time was left (--minutes)"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, metavar="N", help="begin no test after N minutes, and count what is left")
    parser.addoption("--each-kind", action="store_true", help="one test of each class or function first")


class Progress:
    """Says a failure where it happens, as an interrupted run prints no summary, and counts what was left."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.left = 0
        self.kinds: dict[str, bool] = defaultdict(bool)
        """Whether a test was run of each class or function."""

    def line(self, text: str) -> None:
        if terminal := self.config.pluginmanager.get_plugin("terminalreporter"):
            terminal.write_line(f"\n{text}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            last = report.longreprtext.strip().splitlines()[-1:]
            self.line(f"FAILED {report.nodeid} ({report.when}) {' '.join(last)}")
        if report.when == "setup":
            is_left = report.skipped and NOT_RUN in str(report.longrepr)
            self.left += is_left
            self.kinds[kind_of(report.nodeid)] |= not is_left

    def pytest_terminal_summary(self) -> None:
        if self.left:
            self.line(f"{self.left} tests were not run: {NOT_RUN}")
            none = sum(not was_run for was_run in self.kinds.values())
            self.line(f"{none} of {len(self.kinds)} kinds have no test that was run")


def pytest_runtest_setup() -> None:
    if time.time() > float(os.environ.get(UNTIL, "inf")):
        pytest.skip(NOT_RUN)


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Progress(config))
        if config.option.minutes is not None:
            os.environ[UNTIL] = str(time.time() + 60 * config.option.minutes)
    settings.load_profile("quick" if "not slow" in config.option.markexpr else "full")
    # started in the background, a shell's children ignore Ctrl-C, and so would the commands that tests interrupt
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keeps what thousands of tests and large libraries consist of from being scanned again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    mark_what_is_spread(items)
    yield
    if config.option.each_kind:
        items[:] = by_rounds(items)
    elif config.option.minutes is not None and items:
        items[:] = from_file(items, commit(config))


def kind_of(nodeid: str) -> str:
    """Returns the file and the class of a test, or its function, without parameters."""
    return "::".join(nodeid.partition("[")[0].split("::")[:2])


def by_rounds(items: list[pytest.Item]) -> list[pytest.Item]:
    """Returns the first test of each kind, then the second ones, and so on."""
    counts: dict[str, int] = defaultdict(int)
    rounds = []
    for item in items:
        kind = kind_of(item.nodeid)
        rounds.append(counts[kind])
        counts[kind] += 1
    return [item for _, item in sorted(zip(rounds, items, strict=True), key=lambda pair: pair[0])]


def commit(config: pytest.Config) -> int:
    """Returns the number that git names the tree's commit by; 0 where there is none."""
    command = ["git", "-C", str(config.rootpath), "rev-parse", "HEAD"]
    try:
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout, 16)
    except (OSError, subprocess.CalledProcessError):
        return 0


def from_file(items: list[pytest.Item], number: int) -> list[pytest.Item]:
    """Returns the tests in turn, beginning with the file of that number (counted round and round)."""
    files = list(dict.fromkeys(item.path for item in items))
    start = number % len(files)
    place = {file: at for at, file in enumerate(files[start:] + files[:start])}
    return sorted(items, key=lambda item: place[item.path])


def mark_what_is_spread(items: list[pytest.Item]) -> None:
    """Marks as slow the cases that `@pytest.mark.spread` leaves out of a quick run."""
    tests: dict[object, list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and item.get_closest_marker("spread"):
            tests[item.path, item.cls, item.originalname].append(item)
    for cases in tests.values():
        (mark, *_) = cases[0].iter_markers("spread")
        values = [{(name, repr(value)) for name, value in case.callspec.params.items()} for case in cases]
        kept = evenly(len(cases), *mark.args) if mark.args else covering(values)
        for number, case in enumerate(cases):
            if number not in kept:
                case.add_marker(pytest.mark.slow)


def evenly(total: int, count: int) -> set[int]:
    """Returns that many positions (all, if there are fewer), the same distance apart."""
    return {number * total // count for number in range(count)}


def covering(cases: Sequence[Set[tuple[str, str]]]) -> set[int]:
    """Returns the positions of a few cases which between them have every value of every parameter."""
    chosen: set[int] = set()
    missing = {value for case in cases for value in case}
    while missing:
        best = max(range(len(cases)), key=lambda number: len(missing & cases[number]))
        chosen.add(best)
        missing -= cases[best]
    return chosen
