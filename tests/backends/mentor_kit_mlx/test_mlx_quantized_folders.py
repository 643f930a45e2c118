"""Quantized students as people have them: any bits and modes, mixed ones, and widths that the group does not divide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from adapter_oracles import by_transformers, mlx_flatten, of_mlx
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.options import MLXOptions
from mlx_students import load, nudge_adapter
from peft_oracles import of_policy
from torch_students import SHAPE, write_student
from transformers import LlamaConfig

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError

WIDE = SHAPE | {"hidden_size": 128, "intermediate_size": 128, "initializer_range": 0.1}
AFFINE = {"group_size": 64, "bits": 4, "mode": "affine"}


def mixed(path: str, module: Any) -> Any:
    """Six bits here, three there, and some layers left as they are, which mlx-lm writes nothing of."""
    if not hasattr(module, "to_quantized") or "layers.0.self_attn.q_proj" in path:
        return False
    return {"bits": 6, "group_size": 64} if "v_proj" in path else {"bits": 3, "group_size": 32}


#: How each is quantized, and what differs from Llama's shape.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"{bits} bits": ({"group_size": 64, "bits": bits}, {}) for bits in (2, 3, 4, 5, 6, 8)},
    "untied": (AFFINE, {"tie_word_embeddings": False}),
    "mxfp4": ({"group_size": 32, "bits": 4, "mode": "mxfp4"}, {}),
    "mxfp8": ({"group_size": 32, "bits": 8, "mode": "mxfp8"}, {}),
    "nvfp4": ({"group_size": 16, "bits": 4, "mode": "nvfp4"}, {}),
    "mixed": (AFFINE | {"predicate": mixed}, {}),
    "odd width": (AFFINE, {"hidden_size": 96, "head_dim": 32}),
}


def make(folder: Path, kind: str) -> Path:
    """As `mlx_lm.convert -q` writes it."""
    how, shape = KINDS[kind]
    how, predicate = {name: value for name, value in how.items() if name != "predicate"}, how.get("predicate")
    config = LlamaConfig(**{"tie_word_embeddings": True} | WIDE | shape)
    plain = write_student(folder / "plain", config)
    model, config = mlx_lm("utils").load_model(plain, model_config=json.loads((plain / "config.json").read_text()))
    model, config = mlx_lm("utils").quantize_model(model, config, **how, quant_predicate=predicate)
    made = folder / "quantized"
    made.mkdir()
    mx.save_safetensors(str(made / "model.safetensors"), mlx_flatten(model.parameters()))
    (made / "config.json").write_text(json.dumps(config))
    return made


def estimated(folder: Path, spec: AdapterSpec, kind: str) -> MemoryEstimate:
    needed = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=OptimizerSpec())
    options = MLXOptions(device="cpu", dtype="float32", adapter=kind)
    return MLXBackend(options).estimate(StudentSpec(str(folder), adapter=spec), needed)


@pytest.mark.spread
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", ["lora", "dora"])
def test_they_are_trained_counted_and_written(tmp_path: Path, kind: str, adapter: str) -> None:
    folder, spec = make(tmp_path, kind), AdapterSpec(rank=2, targets=("v_proj", "up_proj", "lm_head"))
    policy = load(folder, spec, adapter=adapter)
    found = estimated(folder, spec, adapter)
    assert (found.trainable, found.parameters) == (
        policy.info.trainable,
        policy.info.parameters - policy.info.trainable,
    )
    held = {id(value): value.nbytes for value in mlx_flatten(policy.model.parameters()).values()}
    assert found.parts["weights"] == sum(held.values())
    nudge_adapter(policy, scale=0.02)
    policy.export(tmp_path / "whole")
    np.testing.assert_allclose(by_transformers(tmp_path / "whole"), of_policy(policy), atol=1e-4)


@pytest.mark.parametrize("kind", ["3 bits", "5 bits", "mixed"])
def test_mlx_lm_reads_no_dora_on_bits_that_do_not_divide_a_word(tmp_path: Path, kind: str) -> None:
    policy = load(make(tmp_path, kind), AdapterSpec(rank=2), adapter="dora")
    with pytest.raises(BackendError, match="DoRA"):
        policy.export(tmp_path / "adapter", format="mlx-adapter")
    plain = load(tmp_path / "quantized", AdapterSpec(rank=2))
    nudge_adapter(plain)
    plain.export(tmp_path / "adapter", format="mlx-adapter")
    model, _ = mlx_lm("utils").load_model(tmp_path / "quantized")
    model.set_dtype(mx.float32)
    mlx_lm("utils").load_adapters(model, str(tmp_path / "adapter"))
    np.testing.assert_allclose(of_mlx(model), of_policy(plain), atol=1e-4)


def test_an_estimate_without_weights_goes_by_the_configuration(tmp_path: Path) -> None:
    folder = make(tmp_path, "odd width")
    expected = estimated(folder, AdapterSpec(rank=2), "lora")
    (folder / "model.safetensors").unlink()
    assert estimated(folder, AdapterSpec(rank=2), "lora") == expected


def test_layers_in_16_bits_are_written_in_16_bits(tmp_path: Path) -> None:
    policy = load(make(tmp_path, "4 bits"), AdapterSpec(rank=2), dtype="bfloat16")
    policy.export(tmp_path / "whole")
    written: Any = mx.load(str(tmp_path / "whole" / "model.safetensors"))
    assert {value.dtype for value in written.values()} == {mx.bfloat16}
    assert isinstance(policy.model.layers[0].mlp.up_proj.linear, nn.QuantizedLinear)
