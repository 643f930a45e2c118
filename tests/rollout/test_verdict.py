"""A check that does not return is named while it is waited for; a quick one costs no word."""

from __future__ import annotations

import time

import pytest
from rollout_fakes import EchoTask, problem

from mentor_kit.core.task import Problem
from mentor_kit.rollout import verdict


class Slow(EchoTask):
    """Says yes after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def check(self, answer: str, problem: Problem) -> bool:
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            pass
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
