"""`device: auto` on a Mac, with the CPU as a stand-in for MPS: it is taken where its trial finds it right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mentor_kit_torch import device_trial, loading
from mentor_kit_torch.loading import pick_device


@contextmanager
def as_second_device(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """An operation of `torch.nn.functional` that is another on the device that is tried."""
    real, count = device_trial._outcome, 0

    def outcome(device: torch.device) -> Any:
        nonlocal count
        count += 1
        with monkeypatch.context() as patch:
            if count == 2:
                whole = getattr(torch.nn.functional, name)
                patch.setattr(torch.nn.functional, name, lambda *a, **k: change(whole(*a, **k)))
            return real(device)

    with monkeypatch.context() as patch:
        patch.setattr(device_trial, "_outcome", outcome)
        device_trial.device_fault.cache_clear()
        yield
    device_trial.device_fault.cache_clear()


def test_a_device_that_computes_as_the_cpu_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with as_second_device(monkeypatch, "silu", lambda found: found):
        assert device_trial.device_fault("cpu") == ""


def raises(_: Any) -> Any:
    raise NotImplementedError("the operator is not implemented for this device\nand more")


class _Doubled(torch.autograd.Function):
    """The same values, and gradients twice as large."""

    @staticmethod
    def forward(context: Any, found: torch.Tensor) -> torch.Tensor:
        return found.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 2


@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("silu", lambda found: found * 1.5, "CPU"),
        ("silu", lambda found: torch.full_like(found, float("nan")), "decoder"),
        ("embedding", _Doubled.apply, "gradients"),
        ("silu", raises, "not implemented"),
    ],
    ids=["wrong", "not a number", "wrong gradients", "not implemented"],
)
def test_a_device_that_does_not_is_named_with_the_fault(
    monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Any], Any], word: str
) -> None:
    with as_second_device(monkeypatch, name, change):
        fault = device_trial.device_fault("cpu")
    assert word in fault
    assert "\n" not in fault


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A Mac whose MPS has this fault."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    def with_fault(fault: str) -> None:
        loading._mps_is_right.cache_clear()
        monkeypatch.setattr(device_trial, "device_fault", lambda name: fault)

    yield with_fault
    loading._mps_is_right.cache_clear()


def config(width: int) -> Any:
    return SimpleNamespace(get_text_config=lambda: SimpleNamespace(hidden_size=width))


def test_mps_is_taken_for_wide_models_where_it_is_right(mac: Callable[[str], None]) -> None:
    mac("")
    assert pick_device("auto", config(2048)) == torch.device("mps")
    assert pick_device("auto", config(128)) == torch.device("cpu")
    assert pick_device("auto") == torch.device("mps")


def test_the_cpu_is_taken_with_one_line_where_mps_is_wrong(
    mac: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    mac("a small decoder's gradients differ from the CPU's")
    for _ in range(3):
        assert pick_device("auto", config(2048)) == torch.device("cpu")
    (line,) = caplog.messages
    assert "gradients differ" in line
    assert pick_device("mps") == torch.device("mps")  # as it was asked for
