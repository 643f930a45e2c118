"""What can go wrong with a student's folder, and what a run would need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mentor_kit_torch
import pydantic
import pytest
import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.loading import pick_device
from mentor_kit_torch.options import TorchOptions
from torch_students import SHAPE, load, write_student
from transformers import LlamaConfig

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError, MentorKitError, MissingError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_student(tmp_path / "student")


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def lose_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def cut_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def odd_config(folder: Path) -> None:
    (folder / "config.json").write_text("{not json")


def unknown_architecture(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "abacus"}))


def deeper_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))


def wider_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 120}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lose_weights, "has no weights"),
        (lose_config, "has no config.json"),
        (cut_weights, "cannot be loaded"),
        (odd_config, "cannot be loaded"),
        (unknown_architecture, "abacus"),
        (deeper_config, "has no weights for model.layers.2"),
        (wider_config, "cannot be loaded"),
    ],
)
def test_a_damaged_folder(folder: Path, damage: Any, says: str) -> None:
    damage(folder)
    with pytest.raises(BackendError, match=says) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_no_such_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in (str(tmp_path / "nowhere"), "nobody/has-this-model"):
        with pytest.raises(MissingError, match="is no folder here") as caught:
            TorchBackend(TorchOptions(device="cpu")).load(StudentSpec(model=name), 0)
        assert caught.value.hint


@pytest.mark.parametrize("device", ["cuda:99", "cuda:7"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(MissingError, match=r"backend\.device"):
        pick_device(device)


def test_types_and_options() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    for wrong in ({"device": "gpu"}, {"dtype": "int8"}, {"slots": 0}, {"slot": 3}):
        with pytest.raises(pydantic.ValidationError):
            TorchOptions(**wrong)


def test_adapters_that_do_not_fit(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"adapter_config\.json"):
        load(folder, AdapterSpec(path=tmp_path / "nowhere"))
    with pytest.raises(BackendError, match="adapter"):
        load(folder, AdapterSpec(targets=("no_such_layer",)))
    load(folder, AdapterSpec(rank=2)).export(tmp_path / "adapter", format="adapter")
    wide = write_student(tmp_path / "wide", LlamaConfig(**SHAPE | {"hidden_size": 64}))
    with pytest.raises(BackendError, match="does not fit"):
        load(wide, AdapterSpec(path=tmp_path / "adapter"))


def test_an_adapters_targets_and_seed(folder: Path) -> None:
    policy = load(folder, AdapterSpec(rank=2, targets=("q_proj",)))
    assert policy.info.trainable == 2 * 2 * (32 + 32)
    backend, spec = TorchBackend(TorchOptions(device="cpu")), StudentSpec(str(folder), adapter=AdapterSpec(rank=2))
    first, same, other = (
        torch.cat([p.flatten() for p in backend.load(spec, seed).model.parameters() if p.requires_grad])
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_facts(folder: Path) -> None:
    info = load(folder, max_context=50).info
    # embeddings (tied), then per layer: q and o, k and v, three of the inner width, two norms; a last norm
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
    assert info.parameters == info.trainable == 100 * 32 + 2 * layer + 32
    assert (info.vocabulary, info.context, info.device, info.dtype) == (100, 50, "cpu", "float32")


def test_estimates(folder: Path) -> None:
    lose_weights(folder)  # an estimate needs none
    backend = TorchBackend(TorchOptions(device="cpu", dtype="bfloat16", slots=10))
    spec = StudentSpec(str(folder))
    load_ = MemoryLoad(sequences=20, context=64, train_tokens=1000, optimizer=OptimizerSpec(), reference=True)
    found = backend.estimate(spec, load_)
    count = 100 * 32 + 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 32
    assert found.parameters == count
    assert found.parts["weights"] == count * (2 + 4)  # and the float32 masters
    assert found.parts["optimizer"] == 2 * 4 * count
    assert found.parts["gradients"] == 4 * count
    assert found.parts["reference"] == 2 * count
    # ten slots of 64 tokens: two layers, keys and values, two heads of width 8, two bytes each
    assert found.parts["keys and values"] == 10 * 64 * 2 * 2 * 2 * 8 * 2
    assert found.total == sum(found.parts.values())
    adapted = backend.estimate(StudentSpec(str(folder), adapter=AdapterSpec(rank=4)), load_)
    policy = load(write_student(folder), AdapterSpec(rank=4))
    assert adapted.trainable == policy.info.trainable
    assert adapted.parts["reference"] == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mentor_kit_torch.available() == ""
    assert all(ok for _, ok, _ in mentor_kit_torch.doctor_checks())
    monkeypatch.setattr(mentor_kit_torch, "find_spec", lambda name: None if name == "peft" else object())
    assert "peft" in mentor_kit_torch.available()
    assert "pip install 'mentor-kit[torch]'" in mentor_kit_torch.available()
    assert [ok for _, ok, _ in mentor_kit_torch.doctor_checks()] == [False]


def test_every_error_is_the_users(folder: Path) -> None:
    lose_config(folder)
    with pytest.raises(MentorKitError):
        TorchBackend(TorchOptions(device="cpu")).estimate(StudentSpec(str(folder)), MemoryLoad(1, 1, 1))
