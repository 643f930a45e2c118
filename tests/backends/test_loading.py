"""Loading a student, on both backends: facts, estimates, and what can go wrong with its folder or its adapter."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "mentor_kit_torch"))

from mentor_kit.backend import requirements
from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Backend
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit.testing.checkpoints import learn, seen

Make = Callable[..., Backend]
NAMES = {"torch": "Torch", "mlx": "MLX"}
#: Embeddings (tied), then per layer: q and o, k and v, three of the inner width, two norms; a last norm.
PARAMETERS = 100 * 32 + 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 32


@pytest.fixture(params=list(NAMES))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def make(name: str) -> Make:
    options = getattr(importlib.import_module(f"mentor_kit_{name}.options"), f"{NAMES[name]}Options")
    backend = getattr(importlib.import_module(f"mentor_kit_{name}.backend"), f"{NAMES[name]}Backend")
    return lambda **changes: backend(options(**{"device": "cpu", "dtype": "float32"} | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from torch_students import write_student

    return write_student(tmp_path / "student")


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def cut_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), ""),
    "half the weights": (cut_weights, ""),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{not json"), ""),
    "no known model": (lambda folder: change_config(folder, model_type="abacus"), "abacus"),
    "more layers": (lambda folder: change_config(folder, num_hidden_layers=5), "model.layers.2"),
    "more tokens": (lambda folder: change_config(folder, vocab_size=120), ""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_named(make: Make, folder: Path, damage: str) -> None:
    change, named = DAMAGE[damage]
    change(folder)
    with pytest.raises(BackendError) as caught:
        make().load(StudentSpec(str(folder)), 0)
    assert str(folder) in caught.value.message
    assert named in caught.value.message
    assert caught.value.hint


def test_a_student_that_is_nowhere_is_named(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for model in (str(tmp_path / "nowhere"), "nobody/has-this-model"):
        with pytest.raises(MissingError) as caught:
            make().load(StudentSpec(model=model), 0)
        assert model in caught.value.message
        assert caught.value.hint


def test_an_adapter_that_does_not_fit_is_refused(make: Make, folder: Path, tmp_path: Path) -> None:
    from torch_students import SHAPE, write_student
    from transformers import LlamaConfig

    backend, nowhere = make(), AdapterSpec(path=tmp_path / "nowhere")
    with pytest.raises(MissingError, match=r"adapter_config\.json"):
        backend.load(StudentSpec(str(folder), adapter=nowhere), 0)
    wide = write_student(tmp_path / "wide", LlamaConfig(**SHAPE | {"hidden_size": 64}))
    for kept in [name for name in backend.export_formats if name.endswith("adapter")]:
        backend.load(StudentSpec(str(folder), adapter=AdapterSpec(rank=2)), 0).export(tmp_path / kept, format=kept)
        with pytest.raises(BackendError) as caught:
            backend.load(StudentSpec(str(wide), adapter=AdapterSpec(path=tmp_path / kept)), 0)
        assert str(tmp_path / kept) in caught.value.message


def test_an_adapters_targets_and_seed(make: Make, folder: Path) -> None:
    backend, spec = make(), StudentSpec(str(folder), adapter=AdapterSpec(rank=2, targets=("q_proj",)))
    assert backend.load(spec, 0).info.trainable == 2 * 2 * (32 + 32)
    found = []
    for seed in (1, 1, 2):
        policy = backend.load(spec, seed)
        policy.prepare(OptimizerSpec())
        learn(policy)  # a new adapter says nothing of its seed
        found.append(seen(policy))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_facts(make: Make, folder: Path) -> None:
    info = make(max_context=50).load(StudentSpec(str(folder)), 0).info
    assert info.parameters == info.trainable == PARAMETERS
    assert (info.vocabulary, info.context, info.device, info.dtype) == (100, 50, "cpu", "float32")


def test_an_estimate_of_16_bits_needs_no_weights(make: Make, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    load = MemoryLoad(sequences=20, context=64, train_tokens=1000, optimizer=OptimizerSpec(), reference=True)
    found = make(dtype="bfloat16", slots=10).estimate(StudentSpec(str(folder)), load)
    assert found.parameters == found.trainable == PARAMETERS
    assert found.parts["weights"] == PARAMETERS * (2 + 4)  # and the float32 masters
    assert found.parts["optimizer"] == 2 * 4 * PARAMETERS
    assert found.parts["gradients"] == 4 * PARAMETERS
    assert found.parts["reference"] == 2 * PARAMETERS
    # ten slots of 64 tokens: two layers, keys and values, two heads of width 8, two bytes each
    assert found.parts["keys and values"] == 10 * 64 * 2 * 2 * 2 * 8 * 2


@pytest.mark.parametrize(("name", "package"), [("torch", "peft"), ("mlx", "mlx_lm")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"mentor_kit_{name}")
    assert module.REQUIREMENTS.missing() == ""
    assert all(ok for _, ok, _ in module.doctor_checks())
    monkeypatch.setattr(requirements, "find_spec", lambda wanted: None if wanted == package else object())
    assert package in module.REQUIREMENTS.missing()
    assert f"pip install 'mentor-kit[{name}]'" in module.REQUIREMENTS.missing()
    assert [ok for _, ok, _ in module.doctor_checks()] == [False]
