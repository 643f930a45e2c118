"""Adapters of every kind of model: peft and mlx-lm read what is written, and what peft writes is read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from adapter_oracles import by_transformers
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mlx_students import load, nudge_adapter
from other_names import ALL, WITH_EXPERTS, write_any
from peft import LoraConfig, get_peft_model
from peft_oracles import IDS, by_peft, of_folder, of_policy

from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError

#: mlx-lm computes some models otherwise than transformers.
OTHER_SUMS = 1e-3
#: peft has no adapter on some layers of these; transformers needs a package for Gemma 3n.
WITHOUT_SOME, WITHOUT_PEFT = ("falcon-h1", "jamba", "mamba", "nemotron-h"), ("gemma3n",)
#: The others of a mixer, or of the model.
INPUTS = {
    "falcon-h1": ("in_proj", "q_proj", "k_proj", "down_proj"),
    "jamba": ("in_proj", "x_proj", "out_proj", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj"),
    "mamba": ("in_proj", "x_proj"),
    "nemotron-h": ("in_proj",),
}


def by_mlx_lm(base: Path, adapter: Path) -> Any:
    """The log-probabilities of mlx-lm alone, with an adapter."""
    model = mlx_lm("utils").load_model(base)[0]
    lm = MLXLMWrapper(mlx_lm("tuner.utils").load_adapters(model, str(adapter)))
    logits = lm.logits(lm.hidden(mx.array(IDS[None])))[0, :-1]
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))[np.arange(7), IDS[1:]]


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", [name for name in ALL if name not in WITHOUT_PEFT])
def test_an_adapter_leaves_for_peft_and_for_mlx_lm(name: str, tmp_path: Path) -> None:
    write_any(name, tmp_path / "base")
    policy = load(tmp_path / "base", AdapterSpec(rank=4, targets=INPUTS.get(name, ())))
    nudge_adapter(policy, scale=0.3)
    expected = of_policy(policy)
    assert np.abs(expected - of_policy(load(tmp_path / "base"))).max() > 0.1
    policy.export(tmp_path / "peft", format="adapter")
    np.testing.assert_allclose(by_peft(tmp_path / "base", tmp_path / "peft"), expected, atol=OTHER_SUMS)
    again = load(tmp_path / "base", AdapterSpec(path=tmp_path / "peft"))
    np.testing.assert_allclose(of_policy(again), expected, atol=1e-5)
    again.export(tmp_path / "own", format="mlx-adapter")
    load(tmp_path / "base").export(tmp_path / "whole", format="mlx")
    np.testing.assert_allclose(by_mlx_lm(tmp_path / "whole", tmp_path / "own"), expected, atol=1e-4)


@pytest.mark.parametrize("name", WITHOUT_SOME)
def test_where_peft_has_no_adapter_is_said(name: str, tmp_path: Path) -> None:
    write_any(name, tmp_path / "base")
    policy = load(tmp_path / "base", AdapterSpec(rank=4))
    with pytest.raises(BackendError, match="peft") as error:
        policy.export(tmp_path / "peft", format="adapter")
    assert "mlx-adapter" in str(error.value.hint)


@pytest.mark.spread(2)
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "k_proj"]], ids=["all", "some"])
@pytest.mark.parametrize("name", [name for name in WITH_EXPERTS if name != "llama4"])
def test_what_peft_has_on_experts_is_read(name: str, targets: Any, tmp_path: Path) -> None:
    """But for Llama 4: peft cannot run what it has on its routers."""
    write_any(name, tmp_path / "base")
    parameters = ["experts.gate_up_proj", "experts.down_proj"]
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            lora_alpha=16,
            target_modules=targets,
            target_parameters=parameters,
            init_lora_weights=False,
        )
        made = get_peft_model(of_folder(tmp_path / "base"), config)
    made.save_pretrained(tmp_path / "peft")
    if name == "glm4-moe" and targets == "all-linear":
        # mlx-lm has no layer for its routers
        with pytest.raises(BackendError, match=r"no layer model\.layers\.1\.mlp\.gate"):
            load(tmp_path / "base", AdapterSpec(path=tmp_path / "peft"))
        return
    policy = load(tmp_path / "base", AdapterSpec(path=tmp_path / "peft"))
    expected = by_peft(tmp_path / "base", tmp_path / "peft")
    np.testing.assert_allclose(of_policy(policy), expected, atol=OTHER_SUMS)
    nudge_adapter(policy, scale=0.05)
    policy.export(tmp_path / "out", format="adapter")
    np.testing.assert_allclose(by_peft(tmp_path / "base", tmp_path / "out"), of_policy(policy), atol=OTHER_SUMS)


@pytest.mark.spread(1)
@pytest.mark.parametrize("targets", [("lm_head",), ("embed_tokens", "q_proj")], ids="-".join)
@pytest.mark.parametrize("name", ["qwen3.5", "mistral3", "gemma4-inside"])
def test_ends_of_a_model_of_text_inside_of_another(name: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    write_any(name, tmp_path / "base")
    policy = load(tmp_path / "base", AdapterSpec(rank=4, targets=targets))
    nudge_adapter(policy, scale=0.3)
    expected = of_policy(policy)
    policy.export(tmp_path / "peft", format="adapter")
    np.testing.assert_allclose(by_peft(tmp_path / "base", tmp_path / "peft"), expected, atol=OTHER_SUMS)
    policy.export(tmp_path / "whole")
    np.testing.assert_allclose(by_transformers(tmp_path / "whole"), expected, atol=OTHER_SUMS)
    np.testing.assert_allclose(of_policy(load(tmp_path / "whole")), expected, atol=1e-4)
