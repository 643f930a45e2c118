"""Servers of runs, on any free port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from live_helpers import Serve

from mentor_kit.report.live import LiveServer, LiveSite
from mentor_kit.runs import Run, RunFolder


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def started(folders: Sequence[RunFolder] = (), host: str = "127.0.0.1", token: str = "") -> LiveServer:
            site = LiveSite(tmp_path / "runs", [Run(folder) for folder in folders])
            return stack.enter_context(LiveServer(site, host, 0, token)).start()

        yield started
