"""The laptop recipes: what their students would need, from configurations alone, is what they say they may take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions

from mentor_kit.api import plan
from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import MissingError
from mentor_kit.recipe.loading import load_recipe

QWEN: dict[str, Any] = {
    "model_type": "qwen3",
    "head_dim": 128,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_hidden_layers": 28,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
}
SMOLLM: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "config", "parameters", "weights"),
    [
        # two bytes a weight, and an adapter in float32
        ("qwen3-0.6b", QWEN | {"hidden_size": 1024, "intermediate_size": 3072}, 596_049_920, 1.15),
        # half a byte a weight, and two scales of two bytes for each 64
        ("qwen3-1.7b", QWEN | {"hidden_size": 2048, "intermediate_size": 6144}, 1_720_574_976, 0.97),
        # two bytes a weight, and float32 masters
        ("smollm2-135m", SMOLLM, 134_515_008, 0.75),
    ],
)
def test_laptop_recipes_fit(name: str, config: dict[str, Any], parameters: int, weights: float, tmp_path: Path) -> None:
    recipe = load_recipe(f"laptop/{name}").recipe
    assert recipe.backend.use == "mlx"
    options = MLXOptions(**recipe.backend.options, device="cpu")
    adapter = None if recipe.student.adapter is None else AdapterSpec(rank=recipe.student.adapter.options.rank)
    (tmp_path / "config.json").write_text(json.dumps(config))
    widest = MemoryLoad(sequences=64, context=1024 + recipe.rollout.max_response_tokens, train_tokens=0)
    found = MLXBackend(options).estimate(StudentSpec(str(tmp_path), adapter=adapter), widest)
    assert found.parameters == parameters
    assert found.parts["weights"] / GIB == pytest.approx(weights, abs=0.01)
    assert options.memory is not None
    assert found.total <= options.memory * GIB
    assert any("it fits" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("qwen3-0.6b", 596_049_920), ("qwen3-1.7b", 1_720_574_976), ("smollm2-135m", 134_515_008)],
)
def test_a_dry_run_needs_no_hub(name: str, parameters: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sizes of the laptop recipes' students are known; prompts are then assumed, and the plan says so."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = plan(f"laptop/{name}")
    assert found.memory.parameters == parameters
    assert (found.prompts.longest, bool(found.prompts.missing)) == (1024, True)
    assert "1024" in found.text()
    assert any("it fits into" in note for note in found.memory.notes)


def test_a_dry_run_of_an_unknown_student_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="some/model"):
        plan("laptop/qwen3-0.6b", overrides={"student.model": "some/model"})
