"""Whole students: every kind of model leaves for transformers and for mlx-lm, which read it as it is."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import transformers
from adapter_oracles import by_transformers
from hybrid_students import own_name
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.policy import MLXPolicy
from mlx_students import load
from other_names import ALL, write_any
from peft_oracles import IDS, of_policy
from torch_students import SHAPE, write_student

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.testing.material import ragged_groups
from mentor_kit.testing.objectives import make_objective

#: An adapter that is merged rounds its sums otherwise, and mlx-lm computes some models otherwise than transformers.
TOLERANCE, OTHER_SUMS = 1e-4, 1e-3


def trained(folder: Path, adapter: AdapterSpec | None = None) -> MLXPolicy:
    policy = load(folder, adapter)
    policy.prepare(OptimizerSpec(eps=1e-3))
    policy.forward_backward(ragged_groups(100), make_objective("rloo"))
    policy.optimizer_step(1e-2)
    return policy


def by_mlx_lm(folder: Path) -> Any:
    """The log-probabilities of mlx-lm alone."""
    lm = MLXLMWrapper(mlx_lm("utils").load_model(folder)[0])
    logits = lm.logits(lm.hidden(mx.array(IDS[None])))[0, :-1]
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))[np.arange(7), IDS[1:]]


@pytest.mark.spread(5)
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "adapter"])
@pytest.mark.parametrize("name", list(ALL))
def test_every_student_leaves_whole(name: str, adapted: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_any(name, tmp_path / "student")
    with caplog.at_level(logging.WARNING, "mentor_kit_mlx"):
        policy = trained(tmp_path / "student", AdapterSpec(rank=4) if adapted else None)
    assert policy.whole_format is None
    assert not [record for record in caplog.records if "format" in record.message]
    expected = of_policy(policy)
    policy.export(tmp_path / "theirs", format="transformers")
    np.testing.assert_allclose(by_transformers(tmp_path / "theirs"), expected, atol=OTHER_SUMS)
    np.testing.assert_allclose(of_policy(load(tmp_path / "theirs")), expected, atol=TOLERANCE)
    policy.export(tmp_path / "own", format="mlx")
    np.testing.assert_allclose(by_mlx_lm(tmp_path / "own"), expected, atol=TOLERANCE)
    # from mlx-lm's form, which says nothing of transformers' names
    load(tmp_path / "own").export(tmp_path / "again", format="transformers")
    np.testing.assert_allclose(by_transformers(tmp_path / "again"), expected, atol=OTHER_SUMS)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", list(ALL))
def test_untrained_weights_come_back_to_the_bit(name: str, tmp_path: Path) -> None:
    twin = write_any(name, tmp_path / "student")
    load(tmp_path / "student").export(tmp_path / "out")
    after = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    theirs = {own_name(key): value for key, value in twin.model.state_dict().items()}
    assert after
    for key, value in after.items():
        # norms that mlx-lm adds one to, and weights that it multiplies, are rounded once
        np.testing.assert_allclose(value.numpy(), theirs[own_name(key)].float().numpy(), rtol=1e-6, atol=1e-7)


def test_a_plain_decoder_is_left_for_transformers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_student(tmp_path, transformers.LlamaConfig(**SHAPE))
    with caplog.at_level(logging.WARNING, "mentor_kit_mlx"):
        assert load(folder).whole_format is None
    assert not caplog.records


def test_a_folder_of_mlx_lm_with_unknown_names_leaves_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_student(tmp_path / "student", transformers.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4))
    load(tmp_path / "student").export(tmp_path / "own", format="mlx")
    with caplog.at_level(logging.WARNING, "mentor_kit_mlx"):
        assert load(tmp_path / "own").whole_format == "mlx"
    assert [record for record in caplog.records if "format `mlx`" in record.message]


@pytest.mark.parametrize("name", ["qwen3.5", "lfm2-vl"])
def test_what_is_left_of_a_model_with_pictures_is_its_model_of_text(name: str, tmp_path: Path) -> None:
    write_any(name, tmp_path / "student")
    load(tmp_path / "student").export(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == {"qwen3.5": "qwen3_5_text", "lfm2-vl": "lfm2"}[name]
    assert {"vision_config", "text_config"}.isdisjoint(config)
    assert config["architectures"][0].endswith("ForCausalLM")
