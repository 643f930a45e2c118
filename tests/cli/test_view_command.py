"""`mentorkit view` and `run --view`, where they serve nothing; what they serve is in tests/report/live."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mentor_kit.cli.app import run_app


@pytest.mark.parametrize(
    "arguments",
    [
        ["view", "nobody"],
        ["view", "--runs", "nowhere"],
        ["view", "--port", "70000"],
        ["view", "--port", "x"],
        ["view", "--host", "nowhere.invalid", "--port", "0"],
        ["run", "quickstart", "--dry-run", "--view"],
    ],
)
def test_wrong_arguments_are_code_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_app(arguments) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run_app(["view", "--port", port]) == 2
    assert port in capsys.readouterr().err
