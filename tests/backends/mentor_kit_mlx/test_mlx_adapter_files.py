"""Adapters of peft, read by the mlx backend as peft reads them, or refused by the key that is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_students
from adapter_oracles import by_transformers, edit, estimated, write_peft
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_students import load, nudge_adapter
from peft import IA3Config
from peft_oracles import LAYERS, by_peft, of_policy
from safetensors.numpy import load_file, save_file
from torch_students import SHAPE, write_student
from transformers import Qwen2Config

from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError, MissingError


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    targets=st.lists(st.sampled_from(LAYERS), min_size=1, max_size=4, unique=True),
    rank=st.integers(1, 6),
    alpha=st.integers(1, 40),
    own=st.dictionaries(st.sampled_from(LAYERS), st.tuples(st.integers(1, 6), st.integers(1, 40)), max_size=3),
    rslora=st.booleans(),
)
def test_any_adapter_of_peft(
    tied: Path, tmp_path_factory: Any, targets: list[str], rank: int, alpha: int, own: Mapping[str, Any], rslora: bool
) -> None:
    folder = write_peft(
        tied,
        tmp_path_factory.mktemp("any"),
        target_modules=targets,
        r=rank,
        lora_alpha=alpha,
        rank_pattern={name: value for name, (value, _) in own.items()},
        alpha_pattern={f"layers.1.*{name}": value for name, (_, value) in own.items()},
        use_rslora=rslora,
    )
    expected = by_peft(tied, folder)
    policy = load(tied, AdapterSpec(path=folder))
    # a scale of 28 and more magnifies what two libraries' float32 differ by
    np.testing.assert_allclose(of_policy(policy), expected, atol=1e-4, rtol=1e-4)
    policy.export(folder / "again", format="adapter")
    np.testing.assert_allclose(by_peft(tied, folder / "again"), expected, atol=1e-4, rtol=1e-4)
    policy.export(folder / "whole")
    np.testing.assert_allclose(by_transformers(folder / "whole"), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.spread
@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"use_dora": True, "target_modules": ["lm_head", "up_proj"], "rank_pattern": {"up_proj": 2}},
        {"alpha_pattern": {"layers.0.self_attn.q_proj": 64}},
        {"alpha_pattern": {"q_proj": 3, "layers.1.self_attn.v_proj": 40}, "rank_pattern": {r"layers\.[01].*v_proj": 7}},
        {"use_rslora": True, "rank_pattern": {"v_proj": 1}},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 2}},
        {"layers_to_transform": [0]},
        {"layers_to_transform": 1, "layers_pattern": "layers"},
        {"exclude_modules": ["v_proj"]},
        {"exclude_modules": r".*layers\.0.*", "target_modules": ["k_proj", "lm_head"]},
        {"target_modules": r".*layers\.1.*proj"},
        {"target_modules": "all-linear"},
        {"fan_in_fan_out": True, "target_modules": ["embed_tokens", "q_proj"]},
        {"init_lora_weights": "orthogonal"},
        {"target_parameters": ["up_proj.weight"], "rank_pattern": {"up_proj.weight": 2}},
        {"target_modules": [], "target_parameters": ["layers.1.self_attn.q_proj.weight", "down_proj.weight"]},
        {"modules_to_save": []},
    ],
    ids=str,
)
def test_adapters_are_read_as_peft_reads_them(base: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    folder = write_peft(base, tmp_path / "adapter", **options)
    policy = load(base, AdapterSpec(path=folder))
    np.testing.assert_allclose(of_policy(policy), by_peft(base, folder), atol=1e-4)
    nudge_adapter(policy)
    policy.export(tmp_path / "whole")
    np.testing.assert_allclose(by_transformers(tmp_path / "whole"), of_policy(policy), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"modules_to_save": ["norm"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"lora_bias": True}, "lora_bias"),
        ({"trainable_token_indices": [1, 5]}, "trainable_token_indices"),
        ({"alora_invocation_tokens": [4]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"config": IA3Config, "feedforward_modules": []}, "peft_type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_as_peft_reads_it_is_refused(
    tied: Path, tmp_path: Path, options: dict[str, Any], key: str
) -> None:
    folder = write_peft(tied, tmp_path, **options)
    for attempt in (lambda: load(tied, AdapterSpec(path=folder)), lambda: estimated(tied, AdapterSpec(path=folder))):
        with pytest.raises(BackendError) as error:
            attempt()
        assert f"adapter_config.json: `{key}" in error.value.message


def test_a_key_of_a_later_peft_is_refused_unless_it_is_empty(tied: Path, tmp_path: Path) -> None:
    folder = write_peft(tied, tmp_path)
    for value in (None, False, [], {}):
        edit(folder, use_something_new=value)
        load(tied, AdapterSpec(path=folder))
    for value in (True, 3, "x", [1]):
        edit(folder, use_something_new=value)
        for loader in (load, torch_students.load):
            with pytest.raises(BackendError, match="use_something_new"):
                loader(tied, AdapterSpec(path=folder))


@pytest.mark.parametrize("key", ["kasa_config", "some_later_config"])
def test_an_empty_configuration_of_a_variant_asks_for_the_variant(tied: Path, tmp_path: Path, key: str) -> None:
    folder = write_peft(tied, tmp_path)
    edit(folder, **{key: {}})
    for loader in (load, torch_students.load):
        with pytest.raises(BackendError, match=key):
            loader(tied, AdapterSpec(path=folder))


def test_biases_are_read_where_there_are_none(tmp_path: Path) -> None:
    llama = write_student(tmp_path / "llama")
    folder = write_peft(llama, tmp_path / "a", bias="all")
    np.testing.assert_allclose(of_policy(load(llama, AdapterSpec(path=folder))), by_peft(llama, folder), atol=1e-4)
    qwen = write_student(tmp_path / "qwen", Qwen2Config(**SHAPE))
    folder = write_peft(qwen, tmp_path / "b", bias="lora_only")
    with pytest.raises(BackendError, match="`bias"):
        load(qwen, AdapterSpec(path=folder))


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[2:]), folder / "adapter_model.safetensors")


def double_rank(folder: Path) -> None:
    edit(folder, r=8)


def retarget(folder: Path) -> None:
    edit(folder, target_modules=["q_proj"])


def target_more(folder: Path) -> None:
    edit(folder, target_modules=["q_proj", "v_proj", "o_proj"])


def spoil_pattern(folder: Path) -> None:
    edit(folder, alpha_pattern={"(": 3})


def change_embeddings(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.embed_tokens.weight"] = np.ones((100, 32), np.float32)
    save_file(weights, folder / "adapter_model.safetensors")


@pytest.mark.parametrize("damage", [drop_weight, double_rank, retarget, target_more, spoil_pattern, change_embeddings])
@pytest.mark.parametrize("loader", [load, torch_students.load], ids=["mlx", "torch"])
def test_weights_and_configuration_that_disagree(tied: Path, tmp_path: Path, damage: Any, loader: Any) -> None:
    folder = write_peft(tied, tmp_path)
    damage(folder)
    if damage is change_embeddings and loader is torch_students.load:
        np.testing.assert_allclose(of_policy(loader(tied, AdapterSpec(path=folder))), by_peft(tied, folder), atol=1e-4)
        return
    with pytest.raises(BackendError, match="does not fit"):
        loader(tied, AdapterSpec(path=folder))


def test_folders_that_hold_no_adapter(tied: Path, tmp_path: Path) -> None:
    spec = AdapterSpec(path=tmp_path)
    for attempt in (load, estimated):
        with pytest.raises(MissingError, match=r"adapter_config\.json"):
            attempt(tied, spec)
        for text in ("{", "[]", "3", "{}", '"x"', '{"peft_type": "LORA"}', '{"lora_parameters": 3}', "[" * 20000):
            (tmp_path / "adapter_config.json").write_text(text)
            with pytest.raises((BackendError, MissingError), match=str(tmp_path)):
                attempt(tied, spec)
        (tmp_path / "adapter_config.json").unlink()
