"""The command line, called in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mentor_kit.cli import app as cli


@pytest.fixture
def mentorkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`mentorkit` in an empty folder: its arguments become its exit code, what it says, and its errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        return int(cli.run_app(arguments)), *capsys.readouterr()

    return call
