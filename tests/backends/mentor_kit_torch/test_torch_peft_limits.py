"""Layers whose weights transformers reads without running them: peft's adapters do nothing there, and are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hybrid_students import KINDS, TORCH_ALONE, Kind, write
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from peft import LoraConfig, get_peft_model
from peft_oracles import IDS, of_folder
from torch_students import SHAPE, load, nudge_adapter

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.peft_limits import peft_limit
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import ragged_groups
from mentor_kit.testing.objectives import make_objective

MAMBAS: dict[str, Kind] = {
    "jamba": (
        "JambaConfig",
        SHAPE
        | {"num_hidden_layers": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1}
        | {"num_experts_per_tok": 1, "mamba_d_state": 4, "mamba_dt_rank": 2},
    ),
    "falcon-mamba": ("FalconMambaConfig", SHAPE | {"state_size": 4, "time_step_rank": 2}),
}
ALL = KINDS | TORCH_ALONE | MAMBAS
#: A layer of each kind that peft does not add to.
READ = {
    "mamba": "dt_proj",
    "falcon-mamba": "dt_proj",
    "jamba": "dt_proj",
    "lfm2": "conv.conv",
    "qwen3.5": "linear_attn.conv1d",
}


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(request.param, found := tmp_path_factory.mktemp("base"), ALL[request.param])
    return found


def adapted(base: Path, target: str) -> Any:
    """The model with an adapter of peft whose weights are random; on convolutions of 64 groups it has so many ranks."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        config = LoraConfig(task_type="CAUSAL_LM", r=64, target_modules=[target, "in_proj"], init_lora_weights=False)
        return get_peft_model(of_folder(base), config)


@pytest.mark.spread(3)
@pytest.mark.parametrize("base", [name for name in ALL if name != "gemma3n"], indirect=True)
def test_layers_that_are_not_run_are_known(base: Path) -> None:
    """By what runs in a pass of transformers; its Gemma 3n needs a package."""
    model = of_folder(base)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv1d)}
    ran = set()
    for name, module in layers.items():
        module.register_forward_hook(lambda *given, name=name: ran.add(name))
    with torch.no_grad():
        model.eval()(input_ids=torch.tensor(IDS[None]), use_cache=False)
    kind = model.config.get_text_config().model_type
    known = {name for name in layers if "without running" in (peft_limit(kind, name) or "")}
    beside = ("vision", "visual", "multi_modal", "embed_audio")
    assert {name for name in layers.keys() - ran if not any(word in name for word in beside)} == known


@pytest.mark.spread(3)
@pytest.mark.parametrize("base", list(ALL), indirect=True)
def test_every_layer_of_a_new_adapter_learns(base: Path) -> None:
    policy = load(base, AdapterSpec(rank=2))
    nudge_adapter(policy)
    policy.prepare(OptimizerSpec(clip=None))
    policy.forward_backward(ragged_groups(100), make_objective(preset="sft"))
    trained = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
    assert trained
    assert [name for name, p in trained.items() if p.grad is None or not p.grad.any()] == []


@pytest.mark.spread(2)
@pytest.mark.parametrize(("base", "target"), READ.items(), indirect=["base"], ids=list(READ))
def test_what_peft_does_not_add_is_refused(base: Path, target: str, tmp_path: Path) -> None:
    """As a target; and trained, in an adapter that was written elsewhere."""
    with pytest.raises(BackendError, match="without running it"):
        load(base, AdapterSpec(rank=4, targets=(target,)))
    model = adapted(base, target)
    with torch.no_grad():
        ids = torch.tensor(IDS[None])
        before = model.eval()(input_ids=ids, use_cache=False).logits
        for name, parameter in model.named_parameters():
            if f".{target}.lora_B." in name:
                parameter.zero_()
        assert torch.equal(model(input_ids=ids, use_cache=False).logits, before)
    model.save_pretrained(tmp_path / "untrained")
    load(base, AdapterSpec(path=tmp_path / "untrained"))
    adapted(base, target).save_pretrained(tmp_path / "trained")
    with pytest.raises(BackendError, match=r"has trained weights on .*(dt_proj|conv1d|conv\.conv)"):
        load(base, AdapterSpec(path=tmp_path / "trained"))


@pytest.mark.parametrize("base", ["jamba"], indirect=True)
def test_mlx_refuses_it_too(base: Path, tmp_path: Path) -> None:
    """mlx-lm runs the layer, so that it would add what peft does not."""
    adapted(base, "dt_proj").save_pretrained(tmp_path)
    with pytest.raises(BackendError, match=r"trained weights on model\.layers\.0\.mamba\.dt_proj"):
        MLXBackend(MLXOptions(device="cpu")).load(StudentSpec(str(base), adapter=AdapterSpec(path=tmp_path)), seed=0)
