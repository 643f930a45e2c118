"""Adapters on the mlx backend: what is written is what was trained, on tied embeddings too."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch_students
from adapter_oracles import by_transformers, estimated, mlx_flatten, of_mlx, write_peft
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mlx_students import load, nudge_adapter
from peft_oracles import by_peft, of_policy, random_targets
from torch_students import SHAPE, write_student
from transformers import CohereConfig, LlamaConfig

from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import GENTLE, flat, ragged_groups
from mentor_kit.testing.objectives import make_objective


@pytest.mark.spread
@pytest.mark.parametrize(
    "targets",
    [(), ("lm_head",), ("embed_tokens",), ("lm_head", "embed_tokens"), ("layers.1.mlp.up_proj", "model.embed_tokens")]
    + [random_targets(seed) for seed in range(4)],
    ids=str,
)
def test_what_is_written_is_what_was_trained(base: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    policy = load(base, AdapterSpec(rank=3, alpha=5.0, targets=targets))
    np.testing.assert_allclose(of_policy(policy), by_transformers(base), atol=1e-4)
    nudge_adapter(policy)
    trained = of_policy(policy)
    assert np.abs(trained - by_transformers(base)).max() > 1e-2
    for kept in ("transformers", "mlx", "adapter"):
        policy.export(tmp_path / kept, format=kept)
    np.testing.assert_allclose(by_transformers(tmp_path / "transformers"), trained, atol=1e-4)
    np.testing.assert_allclose(of_policy(load(tmp_path / "transformers")), trained, atol=1e-4)
    model, _ = mlx_lm("utils").load_model(tmp_path / "mlx")
    np.testing.assert_allclose(of_mlx(model), trained, atol=1e-4)
    np.testing.assert_allclose(by_peft(base, tmp_path / "adapter"), trained, atol=1e-4)
    again = load(base, AdapterSpec(path=tmp_path / "adapter"))
    np.testing.assert_allclose(of_policy(again), trained, atol=1e-4)
    assert again.info == policy.info
    np.testing.assert_array_equal(of_policy(policy), trained)


@pytest.mark.spread
@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (("q_porj",), "'q_proj'"),
        (("q_proj", "v_porj"), "'v_proj'"),
        (("self_attn",), "Attention"),
        (("model.layers.7.mlp.up_proj",), "layers.7"),
        (("lm_haed",), "'lm_head'"),
        (("proj",), "proj"),
        (("q_proj", "all-linear"), "all-linear"),
    ],
    ids=str,
)
def test_a_target_that_is_no_layer_is_refused(base: Path, targets: tuple[str, ...], named: str) -> None:
    for attempt in (
        lambda: load(base, AdapterSpec(targets=targets)),
        lambda: estimated(base, AdapterSpec(targets=targets)),
    ):
        with pytest.raises(BackendError) as error:
            attempt()
        assert named in error.value.message
        assert "down_proj" in str(error.value.hint)
        assert "lm_head" in str(error.value.hint)


@pytest.mark.spread
@pytest.mark.parametrize("targets", [(), ("q_proj",), ("embed_tokens",), ("lm_head", "up_proj")], ids=str)
def test_an_estimate_counts_what_is_trained(base: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    spec = AdapterSpec(rank=3, targets=targets)
    policy = load(base, spec)
    assert estimated(base, spec) == policy.info.trainable
    assert policy.info.parameters - policy.info.trainable == load(base).info.parameters
    policy.export(tmp_path, format="adapter")
    assert estimated(base, AdapterSpec(path=tmp_path)) == policy.info.trainable
    assert torch_students.load(base, AdapterSpec(path=tmp_path)).info.trainable == policy.info.trainable


def test_gradients_of_both_ends_are_those_of_torch(base: Path, tmp_path: Path) -> None:
    groups = ragged_groups(100)
    first = load(base, AdapterSpec(rank=2, targets=("lm_head", "embed_tokens", "k_proj")))
    nudge_adapter(first)
    first.export(tmp_path, format="adapter")
    policies = (load(base, AdapterSpec(path=tmp_path)), torch_students.load(base, AdapterSpec(path=tmp_path)))
    for policy in policies:
        policy.prepare(GENTLE)
        policy.forward_backward(groups, make_objective(preset="rloo"))
        policy.optimizer_step(0.02)
    ours, theirs = (flat(policy.log_probs(groups)) for policy in policies)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.abs(ours - flat(first.log_probs(groups))).max() > 1e-2


def test_checkpoints_of_both_ends_go_on(tied: Path, tmp_path: Path) -> None:
    spec = AdapterSpec(rank=2, targets=("lm_head", "embed_tokens"))
    policy = load(tied, spec)
    nudge_adapter(policy)
    policy.save(tmp_path)
    other = load(tied, spec)
    other.restore(tmp_path)
    np.testing.assert_array_equal(of_policy(other), of_policy(policy))


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_and_tied(tmp_path: Path, bits: int) -> None:
    shape = SHAPE | {"hidden_size": 64, "intermediate_size": 64}
    folder = write_student(tmp_path / "student", LlamaConfig(**shape, tie_word_embeddings=True))
    policy = load(folder, AdapterSpec(rank=2, targets=("lm_head", "embed_tokens", "v_proj")), quantize=bits)
    nudge_adapter(policy)
    policy.export(tmp_path / "whole")
    np.testing.assert_allclose(by_transformers(tmp_path / "whole"), of_policy(policy), atol=1e-3)
    policy.export(tmp_path / "adapter", format="adapter")
    again = load(folder, AdapterSpec(path=tmp_path / "adapter"), quantize=bits)
    np.testing.assert_allclose(of_policy(again), of_policy(policy), atol=1e-5)


def test_ranks_and_scales_of_layers_are_made_one_for_mlx_lm(tied: Path, tmp_path: Path) -> None:
    patterns = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 3}}
    folder = write_peft(tied, tmp_path / "peft", **patterns)
    load(tied, AdapterSpec(path=folder)).export(tmp_path / "out", format="mlx-adapter")
    model, _ = mlx_lm("utils").load_model(tied)
    found = of_mlx(mlx_lm("tuner.utils").load_adapters(model, str(tmp_path / "out")))
    np.testing.assert_allclose(found, by_peft(tied, folder), atol=1e-4)


def test_what_mlx_lm_has_no_adapter_for(tied: Path, tmp_path: Path) -> None:
    policy = load(tied, AdapterSpec(rank=2, targets=("lm_head",)))
    with pytest.raises(BackendError, match="tied"):
        policy.export(tmp_path / "out", format="mlx-adapter")
    for targets in (("lm_head",), ("q_proj", "lm_head")):
        with pytest.raises(BackendError, match="no output projection apart"):
            load(cohere(tmp_path), AdapterSpec(targets=targets))
    with pytest.raises(BackendError, match="DoRA"):
        load(tied, AdapterSpec(targets=("embed_tokens",)), adapter="dora")
    assert not (tmp_path / "out").exists()


def cohere(folder: Path) -> Path:
    """A model of mlx-lm's whose logits always come from its embeddings."""
    return write_student(folder / "cohere", CohereConfig(**SHAPE))


def test_mlx_lms_own_adapter_on_tied_embeddings_is_on_both_ends(tied: Path, tmp_path: Path) -> None:
    model, _ = mlx_lm("utils").load_model(tied)
    how = {"rank": 2, "scale": 3.0, "dropout": 0.0, "keys": ["model.embed_tokens", "self_attn.q_proj"]}
    model.freeze()
    mlx_lm("tuner.utils").linear_to_lora_layers(model, 2, how)
    rng = np.random.default_rng(0)
    changed = {
        name: mx.array(0.1 * rng.standard_normal(value.shape), dtype=mx.float32)
        for name, value in (mlx_flatten(model.trainable_parameters())).items()
    }
    model.load_weights(list(changed.items()), strict=False)
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), changed)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": how}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    policy = load(tied, AdapterSpec(path=tmp_path))
    np.testing.assert_allclose(of_policy(policy), of_mlx(model), atol=1e-4)
    policy.export(tmp_path / "whole")
    np.testing.assert_allclose(by_transformers(tmp_path / "whole"), of_policy(policy), atol=1e-4)
    with pytest.raises(BackendError, match="tied"):
        policy.export(tmp_path / "peft", format="adapter")
