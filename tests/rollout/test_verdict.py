"""A check that does not return is named while it is waited for; a quick one costs no word."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rollout_fakes import EchoTask, problem

from mentor_kit.core.task import Problem
from mentor_kit.rollout import verdict


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog that has not begun: that of earlier tests sleeps for as long as their patience says."""
    monkeypatch.setattr(verdict, "_watchdog", verdict._Watchdog())


class Slow(EchoTask):
    """Says yes after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def check(self, answer: str, problem: Problem) -> bool:
        time.sleep(self.seconds)
        if answer == "broken":
            raise ValueError(answer)
        return True


def test_a_check_that_has_not_returned_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verdict, "PATIENCE", 0.05)
    assert verdict.is_right("4" * 500, problem("p7"), Slow(0.4))
    (record,) = caplog.records
    assert "Slow.check" in record.getMessage()
    assert "'p7'" in record.getMessage()
    assert len(record.getMessage()) < 400


@pytest.mark.parametrize("answer", ["5", "broken"])
def test_a_quick_one_is_not(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: str) -> None:
    monkeypatch.setattr(verdict, "PATIENCE", 0.2)
    if answer == "broken":
        with pytest.raises(ValueError, match="broken"):
            verdict.is_right(answer, problem("p7"), Slow(0))
    else:
        assert verdict.is_right(answer, problem("p7"), Slow(0))
    time.sleep(0.3)
    assert not caplog.records


def test_each_of_several_slow_checks_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verdict, "PATIENCE", 0.05)
    for name in ("p1", "p2"):
        assert verdict.is_right("4", problem(name), Slow(0.2))
    assert [name in record.getMessage() for name, record in zip(("'p1'", "'p2'"), caplog.records, strict=True)] == [
        True,
        True,
    ]


def test_checks_of_two_threads_are_watched_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verdict, "PATIENCE", 0.05)
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(verdict.is_right, "4", problem(name), Slow(0.3)) for name in ("p1", "p2")]:
            assert future.result()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all(any(f"'{name}'" in message for message in messages) for name in ("p1", "p2"))


def test_checks_are_watched_again_after_a_while_without_any(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(verdict, "PATIENCE", 0.05)
    assert verdict.is_right("4", problem("p1"), Slow(0))
    time.sleep(0.2)
    assert verdict.is_right("4", problem("p2"), Slow(0.3))
    assert len(caplog.records) == 1
