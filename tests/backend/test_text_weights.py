"""Names of the model of text inside of one that takes pictures too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.backend.text_weights import inside_name, is_inside, text_name, text_weights

PARTS = st.lists(st.sampled_from(["layers", "0", "self_attn", "q_proj", "weight", "norm"]), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("inside", "alone"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("language_model.model.norm.weight", "model.norm.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("language_model.lm_head", "lm_head"),
        ("lm_head.weight", "lm_head.weight"),
        ("model.vision_tower.layers.0.weight", "model.vision_tower.layers.0.weight"),
        ("model.language_models.0", "model.language_models.0"),
    ],
)
def test_names_alone(inside: str, alone: str) -> None:
    assert text_name(inside) == alone


@given(PARTS)
def test_names_inside_come_back(parts: list[str]) -> None:
    name = ".".join(["model", *parts])
    assert text_name(inside_name(name)) == name
    assert is_inside([inside_name(name)])
    assert not is_inside([name])


def test_other_weights_are_left_out_of_a_model_with_one_of_text_inside() -> None:
    weights = {"model.language_model.norm.weight": 1, "lm_head.weight": 2, "model.visual.norm.weight": 3, "mtp.fc": 4}
    assert text_weights(weights) == {"model.norm.weight": 1, "lm_head.weight": 2}
    assert text_weights({"model.norm.weight": 1, "extra": 5}) == {"model.norm.weight": 1, "extra": 5}
