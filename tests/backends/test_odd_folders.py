"""Folders that hold no model, or an odd one: an error of ours that names the folder, when loading and estimating."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "mentor_kit_torch"))

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import MentorKitError, MissingError

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
    {"intermediate_size": float("inf")},
    {"max_position_embeddings": "x"},
    {"max_position_embeddings": []},
    {"max_position_embeddings": float("inf")},
    {"sliding_window": {"a": 1}},
    {"sliding_window": float("nan")},
    {"layer_types": 1.5},
    {"text_config": [1, 2]},
    {"text_config": {"a": 1}},
    {"head_dim": 0},
    {"head_dim": "x"},
    {"num_key_value_heads": "x"},
    {"num_key_value_heads": 3},
    {"attention_dropout": 3},
    {"dtype": 1.5},
    {"tie_word_embeddings": "x"},
    {"quantization": {"group_size": 48, "bits": 4}},
    {"quantization": {"group_size": 64, "bits": 7}},
    {"quantization": {"group_size": 64, "bits": 4, "mode": "no-such"}},
    {"quantization": []},
    {"quantization_config": {}},
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
def backend(request: pytest.FixtureRequest) -> Any:
    return backends()[["torch", "mlx"].index(request.param)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from torch_students import write_student

    return write_student(tmp_path / "odd")


def held(backend: Any, folder: Path) -> list[str]:
    """What loading and estimating say; nothing where they work. Any other error than ours fails the test."""
    said: list[MentorKitError] = []
    for attempt in (
        lambda: backend.load(StudentSpec(str(folder)), 0).prepare(OptimizerSpec()),
        lambda: backend.load(StudentSpec(str(folder), adapter=AdapterSpec(rank=2)), 0),
        lambda: backend.estimate(StudentSpec(str(folder)), LOAD),
        lambda: backend.savings(StudentSpec(str(folder)), LOAD),
    ):
        try:
            attempt()
        except MentorKitError as error:
            said.append(error)
    named = (str(folder), "configuration", "layer")
    assert all(isinstance(error, MissingError) or any(word in error.message for word in named) for error in said)
    return [error.message for error in said]


@pytest.mark.spread
@pytest.mark.parametrize("change", ODD, ids=str)
def test_an_odd_configuration_is_an_error_of_ours_or_works(backend: Any, folder: Path, change: dict[str, Any]) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: value for key, value in config.items() if value != GONE}))
    held(backend, folder)


def test_a_configuration_of_text_without_sizes_is_refused(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"text_config": {"a": 1}}))
    said = held(backends()[1], folder)
    assert [message.split()[-3:] for message in said] == [["'num_hidden_layers'", "is", "missing"]] * 2 + [
        ["'vocab_size'", "is", "missing"]
    ]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:10] or "empty")
def test_what_is_no_configuration_is_refused(backend: Any, folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert len(held(backend, folder)) == 4


#: Models whose layers do not attend, or not all alike: kind, changes to Llama's shape, and whether mlx-lm has it.
OTHERS: list[tuple[str, dict[str, Any], bool]] = [
    ("MambaConfig", {"state_size": 4}, True),
    ("Mamba2Config", {"head_dim": 8, "num_heads": 8, "state_size": 8, "n_groups": 1}, False),
    ("Gemma4TextConfig", {"head_dim": 8, "num_hidden_layers": 4, "vocab_size_per_layer_input": 100}, True),
    ("GPT2Config", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 96, "n_ctx": 96}, False),
]


@pytest.mark.parametrize(("kind", "changes", "in_mlx_lm"), OTHERS, ids=[kind for kind, *_ in OTHERS])
def test_models_of_other_kinds_are_counted(
    backend: Any, tmp_path: Path, kind: str, changes: dict[str, Any], in_mlx_lm: bool
) -> None:
    import transformers
    from torch_students import SHAPE, write_student

    attends = "Mamba" not in kind
    shape = {name: value for name, value in SHAPE.items() if attends or "head" not in name}
    folder = write_student(tmp_path / kind, getattr(transformers, kind)(**shape | changes))
    if not in_mlx_lm and "mlx" in type(backend).__module__:
        held(backend, folder)
        return
    spec = StudentSpec(str(folder))
    policy = backend.load(spec, 0)
    policy.prepare(OptimizerSpec())
    found = backend.estimate(spec, LOAD)
    assert found.trainable == policy.info.trainable
    # MLX keeps buffers of transformers' models among the parameters
    assert found.parameters - found.trainable == (
        4 if kind == "Gemma4TextConfig" and "mlx" in type(backend).__module__ else 0
    )
    longer = backend.estimate(spec, replace(LOAD, context=2 * LOAD.context))
    # what other models keep of a sequence is of fixed size
    assert (longer.parts["keys and values"] > found.parts["keys and values"]) == attends


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"tie_word_embeddings": False}], ids=str)
def test_weights_that_are_missing_are_named(backend: Any, folder: Path, change: dict[str, Any]) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(MentorKitError, match=r"layers\.2|lm_head"):
        backend.load(StudentSpec(str(folder)), 0)


@pytest.mark.parametrize("text", ["", "{", "x" * 1000, "[" * 20000])
def test_weights_that_are_none_are_refused(backend: Any, folder: Path, text: str) -> None:
    (folder / "model.safetensors").write_text(text)
    with pytest.raises(MentorKitError, match=str(folder)):
        backend.load(StudentSpec(str(folder)), 0)


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {"a": "gone.safetensors"}}'])
def test_an_index_without_its_files_is_refused(backend: Any, folder: Path, index: str) -> None:
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
