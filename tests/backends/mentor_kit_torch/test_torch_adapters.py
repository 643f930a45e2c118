"""Adapters of any shape: what is exported, and what peft loads, is what was trained, tied embeddings or not."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy import TorchPolicy
from peft import LoraConfig, get_peft_model
from peft_oracles import by_peft, of_model, of_policy, random_targets
from torch_students import SHAPE, load, write_student
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError, MissingError


@pytest.fixture(scope="module", params=["llama-tied", "llama", "qwen2-tied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind = Qwen2Config if request.param.startswith("qwen2") else LlamaConfig
    config = kind(**SHAPE, tie_word_embeddings=request.param.endswith("tied"))
    return write_student(tmp_path_factory.mktemp(request.param), config)


def shaken(policy: TorchPolicy, seed: int = 1) -> TorchPolicy:
    """The policy as if it had been trained: every trained weight is another one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    policy.weights_changed(1)
    return policy


@pytest.mark.spread
@pytest.mark.parametrize(
    "targets",
    [(), ("lm_head",), ("embed_tokens",), ("lm_head", "embed_tokens"), ("model.layers.1.mlp.up_proj",)]
    + [random_targets(seed) for seed in range(6)],
    ids=str,
)
def test_what_is_written_is_what_was_trained(base: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    policy = shaken(load(base, AdapterSpec(rank=3, alpha=5.0, targets=targets)))
    trained = of_policy(policy)
    assert np.abs(trained - of_model(AutoModelForCausalLM.from_pretrained(base))).max() > 1e-2
    policy.export(tmp_path / "whole", format="transformers")
    policy.export(tmp_path / "adapter", format="adapter")
    np.testing.assert_allclose(of_model(AutoModelForCausalLM.from_pretrained(tmp_path / "whole")), trained, atol=1e-4)
    np.testing.assert_allclose(by_peft(base, tmp_path / "adapter"), trained, atol=1e-4)
    np.testing.assert_allclose(of_policy(load(base, AdapterSpec(path=tmp_path / "adapter"))), trained, atol=1e-4)
    # the policy itself is as it was
    np.testing.assert_array_equal(of_policy(policy), trained)


@pytest.mark.spread
@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"alpha_pattern": {"layers.0.self_attn.q_proj": 64}, "rank_pattern": {"layers.1.self_attn.q_proj": 2}},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens"]},
        {"layers_to_transform": [0]},
        {"exclude_modules": ["v_proj"]},
        {"target_modules": r".*layers\.1.*proj"},
        {"bias": "lora_only"},
    ],
    ids=lambda options: "-".join(options),
)
def test_adapters_that_peft_has_written_are_read_and_exported_as_peft_reads_them(
    base: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    values = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **values)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    expected = by_peft(base, tmp_path / "adapter")
    policy = load(base, AdapterSpec(path=tmp_path / "adapter"))
    np.testing.assert_allclose(of_policy(policy), expected, atol=1e-4)
    policy = shaken(policy)
    policy.export(tmp_path / "whole", format="transformers")
    exported = of_model(AutoModelForCausalLM.from_pretrained(tmp_path / "whole"))
    np.testing.assert_allclose(exported, of_policy(policy), atol=1e-4)


@pytest.mark.spread
@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (("q_porj",), "q_proj"),
        (("q_proj", "v_porj"), "v_proj"),
        (("self_attn",), "self_attn"),
        (("q_proj", "self_attn"), "Attention"),
        (("model.layers.7.mlp.up_proj",), "layers.7"),
        (("proj",), "proj"),
    ],
)
def test_a_target_that_is_no_layer_is_refused(base: Path, targets: tuple[str, ...], named: str) -> None:
    for attempt in (
        lambda: load(base, AdapterSpec(targets=targets)),
        lambda: TorchBackend(TorchOptions(device="cpu")).estimate(
            StudentSpec(str(base), adapter=AdapterSpec(targets=targets)),
            MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=OptimizerSpec()),
        ),
    ):
        with pytest.raises(BackendError) as error:
            attempt()
        assert named in error.value.message
        assert "down_proj" in str(error.value.hint)


def estimated(base: Path, adapter: AdapterSpec) -> int:
    load_ = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=OptimizerSpec())
    return TorchBackend(TorchOptions(device="cpu")).estimate(StudentSpec(str(base), adapter=adapter), load_).trainable


@pytest.mark.spread
@pytest.mark.parametrize("targets", [(), ("q_proj",), ("embed_tokens",), ("lm_head", "up_proj")], ids=str)
def test_an_estimate_counts_what_is_trained(base: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    spec = AdapterSpec(rank=3, targets=targets)
    policy = load(base, spec)
    assert estimated(base, spec) == policy.info.trainable
    if not targets:
        policy.export(tmp_path / "adapter", format="adapter")
        assert estimated(base, AdapterSpec(path=tmp_path / "adapter")) == policy.info.trainable


def test_folders_that_hold_no_adapter_of_peft(base: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"adapter_config\.json"):
        load(base, AdapterSpec(path=tmp_path))
    file = tmp_path / "adapter_config.json"
    for text in ("{", "[]", "3", json.dumps({"lora_parameters": {"rank": 8}})):
        file.write_text(text)
        with pytest.raises(BackendError, match=r"adapter_config\.json"):
            load(base, AdapterSpec(path=tmp_path))
        with pytest.raises(BackendError, match=r"adapter_config\.json"):
            estimated(base, AdapterSpec(path=tmp_path))
