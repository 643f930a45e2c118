"""Students that take pictures and sound too: their part for text is loaded and trained, the rest leaves as it came."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from hybrid_students import EYE, GEMMA, write
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from peft import PeftModel
from safetensors import safe_open
from torch_students import SHAPE, load, nudge_adapter

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import MissingError
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


def test_nothing_but_the_part_for_text_is_in_memory(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", "pt") as saved:
        text = sum(
            math.prod(saved.get_slice(name).get_shape())
            for name in saved.keys()  # noqa: SIM118
            if ".language_model." in name and not name.endswith(".layer_scalar")  # a buffer
        )
    policy = load(folder)
    assert sum(parameter.numel() for parameter in policy.model.parameters()) == text
    kept = [name for name, _ in [*policy.model.named_parameters(), *policy.model.named_buffers()]]
    assert all(name.startswith(("model.language_model.", "lm_head.")) for name in kept)
    assert policy.info.parameters == text


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
    assert type(policy.model) is transformers.Gemma4ForConditionalGeneration
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


@pytest.mark.slow
def test_parts_whose_package_is_missing_are_not_missed(tmp_path: Path) -> None:
    """timm, which transformers' Gemma 3n needs for pictures; names and configuration stay those of the whole model."""
    write("gemma3n", tmp_path / "gemma3n")
    policy = load(tmp_path / "gemma3n", AdapterSpec(rank=2, targets=("q_proj",)))
    nudge_adapter(policy)
    for form in ("adapter", "transformers"):
        policy.export(tmp_path / form, format=form)
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as saved:
        names = set(saved.keys())
    assert all(name.startswith("base_model.model.model.language_model.layers.") for name in names)
    again = load(tmp_path / "transformers")
    assert again.model.config.model_type == "gemma3n"
    groups = ragged_groups(100)
    assert flat(again.log_probs(groups)) == pytest.approx(flat(policy.log_probs(groups)), abs=1e-5)
    # what the folder has beside text, and in layers that share another's keys and values
    with safe_open(tmp_path / "transformers" / "model-00002-of-00002.safetensors", "pt") as saved:
        assert torch.equal(saved.get_tensor("model.vision_tower.patch.weight"), torch.ones(2, 2))


def test_a_student_whose_folder_is_gone_says_so_where_it_is_exported(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, own := tmp_path / "student")
    policy = load(own)
    shutil.rmtree(own)
    with pytest.raises(MissingError, match="is gone"):
        policy.export(tmp_path / "out", format="transformers")
