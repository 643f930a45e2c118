"""The shipped recipe for verl: of a student without weights, with the settings that the paper's authors used."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from verl_exports import registry_with_verl

from mentor_kit import api

sys.path.append(str(Path(__file__).parents[2] / "recipe"))
from shipped_recipes import tiny_model, write_data

#: Qwen2.5-7B, by its published configuration.
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """The shape of the recipe's student, without weights, and with the tokenizer of the one that ships."""
    folder = tmp_path / "student"
    shutil.copytree(tiny_model(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "config.json").write_text(json.dumps(QWEN))
    return folder


@pytest.mark.slow
def test_its_settings_are_the_authors(tmp_path: Path, student: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = {
        "folder": str(write_data(tmp_path / "data")),
        "student.model": str(student),
        "student.chat_template": None,
        "train.0.steps": 2,
    }
    registry = registry_with_verl()
    found = api.export_run(
        "cluster/qwen2.5-7b-verl", tmp_path / "run", engine="verl", overrides=settings, gpus=8, registry=registry
    )
    written = yaml.safe_load((found.folder / "verl.yaml").read_text())
    assert found.training_rows == 2 * 32
    actor = written["actor_rollout_ref"]["actor"]
    rollout = written["actor_rollout_ref"]["rollout"]
    # ppo_trainer.yaml and the training scripts of the authors' repository, at a158591
    assert written["data"]["train_batch_size"] == 32
    assert written["data"]["max_response_length"] == 8192
    assert (actor["ppo_mini_batch_size"], actor["loss_agg_mode"], actor["clip_ratio_c"]) == (8, "token-mean", 3.0)
    assert (actor["entropy_coeff"], actor["kl_loss_coef"], actor["kl_loss_type"]) == (0.001, 0.001, "low_var_kl")
    assert (actor["optim"]["lr"], actor["optim"]["weight_decay"]) == (1e-6, 0.01)
    assert (rollout["n"], rollout["temperature"], rollout["top_k"]) == (10, 0.6, 20)
    assert written["algorithm"]["adv_estimator"] == "grpo"
