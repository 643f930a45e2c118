"""Students in 16 bits: how they are run is found out in spite of rounding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import transformers
from mentor_kit_mlx.params import by_name
from mentor_kit_mlx.policy import MLXPolicy
from mentor_kit_mlx.self_check import exact
from mlx_students import load
from torch_students import SHAPE, Float64Twin, write_student

from mentor_kit.backend.student import AdapterSpec

IDS = list(range(20))


@pytest.fixture
def policy(tmp_path: Path) -> MLXPolicy:
    """Its results in 16 bits are mostly rounding."""
    config = transformers.LlamaConfig(**SHAPE | {"num_hidden_layers": 40, "initializer_range": 0.6})
    return load(write_student(tmp_path / "student", config), dtype="bfloat16")


def logits(policy: MLXPolicy) -> np.ndarray:
    found = policy.lm.logits(policy.lm.hidden(mx.array([IDS])))[0]
    return np.array(found.astype(mx.float32))


def same_bits(policy: MLXPolicy, expected: Mapping[str, mx.array]) -> None:
    assert policy.lm.dtype == mx.bfloat16
    found = by_name(policy.model.parameters())
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert mx.array_equal(value, expected[name]), name


def test_a_trial_runs_in_32_bits(policy: MLXPolicy, tmp_path: Path) -> None:
    policy.export(tmp_path / "rounded")
    expected = Float64Twin(tmp_path / "rounded")(IDS)
    assert np.abs(logits(policy) - expected).max() > 1
    with exact(policy.lm):
        np.testing.assert_allclose(logits(policy), expected, atol=1e-2)


def test_it_leaves_the_weights_as_they_were(policy: MLXPolicy) -> None:
    expected = dict(by_name(policy.model.parameters()))
    with pytest.raises(RuntimeError, match="in between"):
        interrupted(policy)
    same_bits(policy, expected)
    assert all(value.dtype == mx.bfloat16 for value in expected.values())


def interrupted(policy: MLXPolicy) -> None:
    with exact(policy.lm):
        layers = policy.model.model.layers
        for layer in (next(iter(layers)), layers[1]):
            assert layer.mlp.up_proj.weight.dtype == mx.float32
        raise RuntimeError("in between")


def test_quantized_weights_stay_quantized(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student", transformers.LlamaConfig(**SHAPE | {"hidden_size": 64}))
    policy = load(folder, AdapterSpec(rank=2), dtype="bfloat16", quantize=4)
    assert policy._keeps
    kept = dict(by_name(policy.model.parameters()))
    assert mx.uint32 in {value.dtype for value in kept.values()}
    with exact(policy.lm):
        hidden = policy.lm.hidden(mx.array([IDS]))
        assert hidden.dtype == mx.float32
        wide = policy.lm.logits(hidden)
    same_bits(policy, kept)
    assert np.abs(np.array(wide)[0] - logits(policy)).max() < 1
