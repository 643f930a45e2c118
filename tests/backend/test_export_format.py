"""What an exported folder is, by its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from numpy import ones
from safetensors.numpy import save_file

from mentor_kit.backend.export_format import format_of, takes_pictures


def write(folder: Path, name: str) -> Path:
    """A folder as peft, mlx-lm, transformers or llama.cpp's converter leaves it."""
    if name == "gguf":
        (folder / "student.gguf").touch()
    elif name.endswith("adapter"):
        config = {"peft_type": "LORA"} if name == "adapter" else {"lora_parameters": {}}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    else:
        metadata = {"format": {"transformers": "pt", "mlx": "mlx"}[name]}
        save_file({"a": ones(2)}, folder / "model-00001-of-00001.safetensors", metadata=metadata)
    return folder


@pytest.mark.parametrize("name", ["transformers", "mlx", "adapter", "mlx-adapter", "gguf"])
def test_the_format_is_the_files(name: str, tmp_path: Path) -> None:
    for asked in ("transformers", "mlx", "adapter", "gguf"):
        assert format_of(write(tmp_path, name), asked) == name


def test_a_format_that_files_do_not_tell_is_what_was_asked_for(tmp_path: Path) -> None:
    assert format_of(write(tmp_path, "mlx"), "mlx-4bit") == "mlx-4bit"
    assert format_of(tmp_path / "not there", "mlx") == "mlx"


@pytest.mark.parametrize(("config", "expected"), [({"text_config": {}}, True), ({"model_type": "llama"}, False)])
def test_models_with_one_of_text_inside_take_pictures(
    config: dict[str, object], expected: bool, tmp_path: Path
) -> None:
    assert not takes_pictures(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert takes_pictures(tmp_path) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("model.language_model.layers.0.mlp.up_proj", True),
        ("language_model.model.layers.0.mlp.up_proj", True),
        ("model.layers.0.mlp.up_proj", False),
    ],
)
def test_adapters_take_pictures_if_their_layers_are_inside_of_such_a_model(
    layer: str, expected: bool, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    save_file(
        {f"base_model.model.{layer}.lora_A.weight": ones((1, 1))},
        tmp_path / "adapter_model.safetensors",
    )
    assert takes_pictures(tmp_path) == expected
