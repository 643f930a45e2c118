"""Programs that load an exported student sample as it was sampled in training, and end turns where it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from mentor_kit.rollout import Sampling
from mentor_kit.stages.generation_config import write_generation_config


def written(folder: Path, sampling: Sampling, *, stops: set[int], **base: Any) -> GenerationConfig:
    (folder / "config.json").write_text(json.dumps({"eos_token_id": base.pop("model_eos", None)}))
    if base:
        (folder / "generation_config.json").write_text(json.dumps(base))
    write_generation_config(folder, sampling, stops)
    return GenerationConfig.from_pretrained(folder)


def test_the_sampling_of_training(tmp_path: Path) -> None:
    found = written(tmp_path, Sampling(0.7, 0.9, 20), stops={5})
    assert (found.do_sample, found.temperature, found.top_p, found.top_k) == (True, 0.7, 0.9, 20)


def test_nothing_of_the_base_models_sampling_is_left(tmp_path: Path) -> None:
    """Qwen's folders have top-k 20 and top-p 0.8; others penalties, which no rollout had."""
    base = {"top_k": 20, "top_p": 0.8, "min_p": 0.1, "repetition_penalty": 1.1, "num_beams": 4, "do_sample": False}
    found = written(tmp_path, Sampling(1.0), stops={5}, **base, pad_token_id=3, bos_token_id=1)
    plain = GenerationConfig()
    assert (found.do_sample, found.temperature, found.top_p, found.top_k) == (True, 1.0, 1.0, 0)
    for key in ("min_p", "repetition_penalty", "num_beams"):
        assert getattr(found, key) == getattr(plain, key)
    assert (found.pad_token_id, found.bos_token_id) == (3, 1)


@pytest.mark.parametrize(
    ("stops", "model", "base", "expected"),
    [({7}, None, None, [7]), ({7}, 2, None, [2, 7]), ({7, 9}, 2, [2, 4], [2, 4, 7, 9]), ({0}, None, 0, [0])],
)
def test_every_token_that_ends_a_turn(
    tmp_path: Path, stops: set[int], model: int | None, base: Any, expected: list[int]
) -> None:
    found = written(tmp_path, Sampling(), stops=stops, model_eos=model, eos_token_id=base, use_cache=True)
    assert found.eos_token_id == expected


def test_greedy_sampling_sets_nothing_that_needs_sampling(tmp_path: Path) -> None:
    written(tmp_path, Sampling(temperature=0.0), stops={5}).validate(strict=True)


def test_an_adapters_folder_stays_as_it_is(tmp_path: Path) -> None:
    write_generation_config(tmp_path, Sampling(), {1})
    assert list(tmp_path.iterdir()) == []
