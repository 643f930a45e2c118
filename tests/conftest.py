"""What all tests share: how much of them a quick run takes, and how much `make slow`."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Sequence, Set

import pytest
from hypothesis import settings

# A slow machine is no fault of the code: speed is measured in benchmarks/. Where changes are judged, property tests
# look at the same examples each time; everywhere else at new ones.
EXAMPLES = int(os.environ.get("EXAMPLES", "200"))
settings.register_profile("full", max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ)
settings.register_profile("quick", settings.get_profile("full"), max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("quick" if "not slow" in config.option.markexpr else "full")
    # started in the background, a shell's children ignore Ctrl-C, and so would the commands that tests interrupt
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keeps what thousands of tests and large libraries consist of from being scanned again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
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
