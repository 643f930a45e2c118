"""Folders that hold no model, or an odd one: an error of ours that names the folder, when loading and estimating."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "mentor_kit_torch"))

from mentor_kit.errors import MentorKitError, MissingError
from mentor_kit.policy import Backend, MemoryLoad, OptimizerSpec, StudentSpec

LOAD = MemoryLoad(sequences=2, context=16, train_tokens=64, optimizer=OptimizerSpec())
GONE = "(left out)"

#: Changes to a Llama's config.json: what a hand or another program may have made of it.
ODD: list[dict[str, Any]] = [
    {"model_type": GONE},
    {"model_type": "no-such-model"},
    {"model_type": 7},
    {"model_type": "t5"},
    {"hidden_size": "wide"},
    {"hidden_size": None},
    {"hidden_size": -32},
    {"num_hidden_layers": "two"},
    {"num_hidden_layers": []},
    {"num_attention_heads": 0},
    {"num_attention_heads": "four"},
    {"vocab_size": None},
    {"vocab_size": "many"},
    {"rope_parameters": "yarn"},
    {"rope_parameters": {"rope_type": "no-such"}},
    {"rope_scaling": [1]},
    {"quantization": 4},
    {"quantization": {"bits": 4}},
    {"quantization_config": {"quant_method": "no-such-method"}},
    {"hidden_act": "no-such"},
    {"dtype": "float7"},
    {"intermediate_size": {"a": 1}},
]
TEXTS = ["", "{", "[]", "3", "null", '"llama"', "[" * 20000, "{}"]


def backends() -> list[Any]:
    import importlib

    found: list[Any] = []
    for name, options in (("mentor_kit_torch", "TorchOptions"), ("mentor_kit_mlx", "MLXOptions")):
        module = importlib.import_module(f"{name}.backend")
        chosen = getattr(importlib.import_module(f"{name}.options"), options)(device="cpu")
        found.append(getattr(module, options.replace("Options", "Backend"))(chosen))
    return found


@pytest.fixture(scope="module", params=["torch", "mlx"])
def backend(request: pytest.FixtureRequest) -> Backend:
    made: Backend = backends()[["torch", "mlx"].index(request.param)]
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from torch_students import write_student

    return write_student(tmp_path / "odd")


def held(backend: Backend, folder: Path) -> list[str]:
    """What loading and estimating say; nothing where they work. Any other error than ours fails the test."""
    said: list[MentorKitError] = []
    for attempt in (
        lambda: backend.load(StudentSpec(str(folder)), 0),
        lambda: backend.estimate(StudentSpec(str(folder)), LOAD),
    ):
        try:
            attempt()
        except MentorKitError as error:
            said.append(error)
    named = (str(folder), "configuration", "layer")
    assert all(isinstance(error, MissingError) or any(word in error.message for word in named) for error in said)
    return [error.message for error in said]


@pytest.mark.parametrize("change", ODD, ids=str)
def test_an_odd_configuration_is_an_error_of_ours_or_works(
    backend: Backend, folder: Path, change: dict[str, Any]
) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: value for key, value in config.items() if value != GONE}))
    held(backend, folder)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:10] or "empty")
def test_what_is_no_configuration_is_refused(backend: Backend, folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert len(held(backend, folder)) == 2


@pytest.mark.parametrize("text", ["", "{", "x" * 1000, "[" * 20000])
def test_weights_that_are_none_are_refused(backend: Backend, folder: Path, text: str) -> None:
    (folder / "model.safetensors").write_text(text)
    with pytest.raises(MentorKitError, match=str(folder)):
        backend.load(StudentSpec(str(folder)), 0)


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {"a": "gone.safetensors"}}'])
def test_an_index_without_its_files_is_refused(backend: Backend, folder: Path, index: str) -> None:
    (folder / "model.safetensors").rename(folder / "elsewhere")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(MentorKitError, match=str(folder)):
        backend.load(StudentSpec(str(folder)), 0)


def test_numbers_that_json_has_no_form_for_are_read(tmp_path: Path) -> None:
    from mentor_kit_mlx.config import read_config

    (tmp_path / "config.json").write_text(
        '{"model_type": "mamba2", "time_step_limit": [0.0, {"__float__": "Infinity"}]}'
    )
    assert read_config(tmp_path)["time_step_limit"] == [0.0, float("inf")]
