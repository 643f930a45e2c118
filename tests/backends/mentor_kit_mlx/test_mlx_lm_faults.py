"""Models that mlx-lm computes otherwise than transformers: they are refused, and what is refused is really wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import transformers
from mentor_kit_mlx.config import read_config
from mlx_lm import utils
from torch_students import SHAPE

from mentor_kit.core.errors import BackendError

JAMBA: dict[str, Any] = SHAPE | {
    "num_hidden_layers": 2,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "mamba_d_state": 4,
    "mamba_dt_rank": 2,
    "use_mamba_kernels": False,
}
GEMMA: dict[str, Any] = SHAPE | {"hidden_size": 64, "head_dim": 8, "num_hidden_layers": 3, "sliding_window": 4}
FULL, WINDOW = "full_attention", "sliding_attention"


def write(folder: Path, config: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(folder)
    return model


def gap(model: Any, folder: Path) -> float:
    """The largest difference of mlx-lm's logits to transformers'."""
    ids = [int(token) for token in np.random.default_rng(0).integers(1, 100, 12)]
    theirs, _ = utils.load_model(folder)
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()
    return float(np.abs(np.array(theirs(mx.array([ids]))[0]) - expected).max())


@pytest.mark.parametrize(("chosen", "right"), [(2, False), (4, True)])
def test_jamba_with_more_experts_than_a_token_takes_is_refused(chosen: int, right: bool, tmp_path: Path) -> None:
    model = write(tmp_path, transformers.JambaConfig(**JAMBA | {"num_experts_per_tok": chosen}))
    assert (gap(model, tmp_path) < 1e-4) == right
    if right:
        assert read_config(tmp_path)["model_type"] == "jamba"
        return
    with pytest.raises(BackendError, match="experts"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("kinds", "right"), [((WINDOW, FULL, WINDOW), True), ((FULL, WINDOW, FULL), False), ((WINDOW, FULL, FULL), False)]
)
def test_windows_without_a_pattern_are_refused(kinds: tuple[str, ...], right: bool, tmp_path: Path) -> None:
    write(tmp_path, transformers.Gemma3TextConfig(**GEMMA | {"layer_types": list(kinds)}))
    if right:
        assert read_config(tmp_path)["sliding_window_pattern"] == 2
        return
    with pytest.raises(BackendError, match="layer_types"):
        read_config(tmp_path)


def test_recurrent_gemma_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "recurrent_gemma"}')
    with pytest.raises(BackendError, match="RecurrentGemma"):
        read_config(tmp_path)
