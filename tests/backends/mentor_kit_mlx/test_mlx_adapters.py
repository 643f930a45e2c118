"""Adapters of any shape are read as peft reads them, or refused by the key that says what cannot be."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.policy import MLXPolicy
from mlx_students import load, nudge_adapter
from peft import LoraConfig, PeftModel, get_peft_model
from torch_students import SHAPE, write_student
from transformers import AutoModelForCausalLM, LlamaConfig

from mentor_kit.errors import BackendError, MissingError
from mentor_kit.policy import AdapterSpec, MemoryLoad, OptimizerSpec, StudentSpec, TokenCompletion, TokenGroup

IDS = np.array([5, 9, 33, 71, 7, 30, 44, 2], dtype=np.int64)


@pytest.fixture(scope="module", params=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = LlamaConfig(**SHAPE, tie_word_embeddings=request.param == "tied")
    return write_student(tmp_path_factory.mktemp(request.param), config)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("untied"), LlamaConfig(**SHAPE, tie_word_embeddings=False))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("tied"), LlamaConfig(**SHAPE, tie_word_embeddings=True))


def of_policy(policy: MLXPolicy) -> np.ndarray:
    completion = TokenCompletion(ids=IDS[1:], mask=np.ones(7, np.float32), log_probs=np.zeros(7, np.float32))
    ((found,),) = policy.log_probs([TokenGroup(prompt_ids=IDS[:1], completions=(completion,))])
    return np.asarray(found)


@torch.no_grad()
def of_model(model: Any) -> np.ndarray:
    logits = model.eval()(torch.tensor(IDS[None])).logits[0, :-1].log_softmax(-1)
    return logits[torch.arange(7), torch.tensor(IDS[1:])].float().numpy()


def by_peft(base: Path, folder: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return of_model(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)))


def write_peft(base: Path, folder: Path, **options: Any) -> Path:
    torch.manual_seed(0)
    values = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(task_type="CAUSAL_LM", **values)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"layers.0.self_attn.q_proj": 64}},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 2}},
        {"alpha_pattern": {"q_proj": 3, "layers.1.self_attn.v_proj": 40}, "rank_pattern": {r"layers\.[01].*v_proj": 7}},
        {"use_rslora": True, "rank_pattern": {"v_proj": 1}},
        {"layers_to_transform": [1]},
        {"exclude_modules": ["v_proj"]},
        {"target_modules": "all-linear"},
        {"target_modules": r".*layers\.0.*proj"},
    ],
    ids=str,
)
def test_peft_adapters_are_read_as_peft_reads_them(base: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    folder = write_peft(base, tmp_path / "adapter", **options)
    policy = load(base, AdapterSpec(path=folder))
    np.testing.assert_allclose(of_policy(policy), by_peft(base, folder), atol=1e-4)
    # trained further, it is written for peft as it is
    nudge_adapter(policy)
    policy.export(tmp_path / "again", format="adapter")
    np.testing.assert_allclose(by_peft(base, tmp_path / "again"), of_policy(policy), atol=1e-4)
    policy.export(tmp_path / "whole", format="transformers")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32)
    np.testing.assert_allclose(of_model(whole), of_policy(policy), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"modules_to_save": ["norm"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"peft_type": "VERA"}, "peft_type"),
        ({"a_key_of_tomorrow": {"x": 1}}, "a_key_of_tomorrow"),
    ],
)
def test_what_would_be_left_out_is_refused_by_its_key(
    base: Path, tmp_path: Path, change: dict[str, Any], key: str
) -> None:
    folder = write_peft(base, tmp_path / "adapter")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BackendError) as error:
        load(base, AdapterSpec(path=folder))
    assert str(file) in error.value.message
    assert key in error.value.message


def test_several_ranks_have_no_form_in_mlx_lm(base: Path, tmp_path: Path) -> None:
    folder = write_peft(base, tmp_path / "adapter", rank_pattern={"q_proj": 2})
    with pytest.raises(BackendError, match="ranks"):
        load(base, AdapterSpec(path=folder)).export(tmp_path / "mlx", format="mlx-adapter")


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (("q_porj",), "q_proj"),
        (("q_proj", "v_porj"), "v_proj"),
        (("self_attn",), "Attention"),
        (("embed_tokens",), "Embedding"),
        (("lm_head",), "embeddings"),
        (("model.layers.7.mlp.up_proj",), "layers.7"),
    ],
)
def test_a_target_that_is_no_linear_layer_is_refused(tied: Path, targets: tuple[str, ...], named: str) -> None:
    spec = AdapterSpec(targets=targets)
    for attempt in (lambda: load(tied, spec), lambda: estimated(tied, spec)):
        with pytest.raises(BackendError) as error:
            attempt()
        assert named in error.value.message
        assert "down_proj" in str(error.value.hint)


@pytest.mark.parametrize("targets", [("lm_head",), ("model.layers.1.mlp.up_proj", "k_proj"), ("lm_head", "o_proj")])
def test_layers_anywhere_are_adapted_and_written_as_trained(
    untied: Path, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    policy = load(untied, AdapterSpec(rank=3, alpha=5.0, targets=targets))
    before = of_policy(policy)
    nudge_adapter(policy)
    trained = of_policy(policy)
    assert np.abs(trained - before).max() > 1e-2
    policy.export(tmp_path / "adapter", format="adapter")
    policy.export(tmp_path / "whole", format="transformers")
    np.testing.assert_allclose(by_peft(untied, tmp_path / "adapter"), trained, atol=1e-4)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32)
    np.testing.assert_allclose(of_model(whole), trained, atol=1e-4)
    assert estimated(untied, AdapterSpec(rank=3, targets=targets)) == policy.info.trainable
    assert estimated(untied, AdapterSpec(path=tmp_path / "adapter")) == policy.info.trainable


def estimated(base: Path, adapter: AdapterSpec) -> int:
    load_ = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=OptimizerSpec())
    return MLXBackend(MLXOptions(device="cpu")).estimate(StudentSpec(str(base), adapter=adapter), load_).trainable


def test_folders_that_hold_no_adapter(base: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"adapter_config\.json"):
        load(base, AdapterSpec(path=tmp_path))
    with pytest.raises(MissingError, match="adapter"):
        estimated(base, AdapterSpec(path=tmp_path))
    for text in ("{", "[]", "3", "{}"):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises((BackendError, MissingError), match=str(tmp_path)):
            load(base, AdapterSpec(path=tmp_path))
