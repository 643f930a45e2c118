"""Students that take pictures and sound too: their part for text is trained, and the rest leaves as it came."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from hybrid_students import EYE, GEMMA
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from peft import PeftModel
from torch_students import SHAPE, load, nudge_adapter

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.testing.material import drive, flat, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

SEES = EYE | {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
HEARS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "subsampling_conv_channels": [4, 4]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 4 as it is published, with few and narrow layers."""
    config = transformers.Gemma4Config(
        text_config=SHAPE | GEMMA | {"global_head_dim": 16, "pad_token_id": 0},
        vision_config=SEES | {"position_embedding_size": 16, "patch_size": 4},
        audio_config=HEARS | {"output_proj_dims": 16},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(found := tmp_path_factory.mktemp("gemma4"))
    return found


@pytest.mark.parametrize("adapter", [None, AdapterSpec(rank=2, targets=("q_proj",))])
def test_the_part_for_text_alone_is_trained(folder: Path, adapter: AdapterSpec | None) -> None:
    policy = load(folder, adapter)
    assert policy.engine().device.keeps_rows
    trained = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("language_model" in name or "lm_head" in name for name in trained)
    estimate = TorchBackend(TorchOptions(device="cpu", dtype="float32")).estimate(
        StudentSpec(str(folder), adapter=adapter),
        MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=OptimizerSpec()),
    )
    assert (estimate.parameters, estimate.trainable) == (
        policy.info.parameters - (policy.info.trainable if adapter else 0),
        policy.info.trainable,
    )


def test_what_takes_pictures_and_sound_leaves_as_it_came(folder: Path, tmp_path: Path) -> None:
    policy = load(folder)
    policy.prepare(OptimizerSpec(weight_decay=0.1))
    policy.forward_backward(ragged_groups(100), make_objective(preset="sft"))
    policy.optimizer_step(1e-2)
    done = drive(policy.engine(), [request("a", range(1, 12), max_new_tokens=4)])["a"]
    assert len(done.ids) == 4
    policy.export(tmp_path / "out", format="transformers")
    before, after = (
        dict(transformers.AutoModelForCausalLM.from_pretrained(where).named_parameters())
        for where in (folder, tmp_path / "out")
    )
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]) == ("language_model" not in name and "lm_head" not in name), name


@pytest.mark.slow
def test_an_adapter_is_found_by_peft(folder: Path, tmp_path: Path) -> None:
    policy = load(folder, AdapterSpec(rank=2))
    nudge_adapter(policy)
    policy.export(tmp_path / "out", format="adapter")
    model = PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "out")
    ).eval()
    ids = torch.arange(1, 12)[None]
    with torch.no_grad():
        assert torch.allclose(model(input_ids=ids).logits, policy.model(input_ids=ids).logits, atol=1e-5)
    again = load(folder, AdapterSpec(path=tmp_path / "out"))
    assert flat(again.log_probs(ragged_groups(100))) == pytest.approx(flat(policy.log_probs(ragged_groups(100))))
