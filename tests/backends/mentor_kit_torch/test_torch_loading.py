"""Devices, options and estimates of the torch backend; `tests/backends/test_loading.py` has what both share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.loading import pick_device
from mentor_kit_torch.options import TorchOptions
from torch_students import write_student

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError, MissingError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_student(tmp_path / "student")


@pytest.mark.parametrize("place", ["loading.made_of", "policy_loading.TorchPolicy"])
def test_a_model_that_does_not_fit_is_no_missing_one(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(f"mentor_kit_torch.{place}", full)
    with pytest.raises(BackendError, match=r"does not fit into the free memory of cpu: .*2\.00 GiB") as caught:
        TorchBackend(TorchOptions(device="cpu")).load(StudentSpec(model=str(folder)), seed=0)
    assert "--dry-run" in (caught.value.hint or "")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:7"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(MissingError, match=r"backend\.device"):
        pick_device(device)


def test_types_and_options() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    for wrong in ({"device": "gpu"}, {"dtype": "int8"}, {"slots": 0}, {"slot": 3}):
        with pytest.raises(UsageError):
            TorchOptions(**wrong)


def test_a_new_adapters_reference_takes_no_memory(folder: Path) -> None:
    backend = TorchBackend(TorchOptions(device="cpu"))
    load = MemoryLoad(sequences=20, context=64, train_tokens=1000, optimizer=OptimizerSpec(), reference=True)
    assert backend.estimate(StudentSpec(str(folder), adapter=AdapterSpec(rank=4)), load).parts["reference"] == 0
