"""Students on quantized weights leave as adapters, merged, and quantized again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from adapter_oracles import mlx_flatten, of_mlx
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.options import MLXOptions
from mlx_students import load, nudge_adapter
from peft_oracles import of_policy
from torch_students import SHAPE, Float64Twin, write_student
from transformers import LlamaConfig
from typer.testing import CliRunner

import mentor_kit
from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.quantization_cost import TurnSampling, contexts_of, greedy_turns, sampled_turns
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.cli.app import app
from mentor_kit.core.errors import BackendError
from mentor_kit.core.trajectory import Ending, SampledTurn, TokenTrace, Trajectory
from mentor_kit.testing.material import log_softmax

WIDE = SHAPE | {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.1}


def mixed(path: str, module: Any) -> Any:
    """Eight bits for values, and a layer that is not quantized."""
    if not hasattr(module, "to_quantized") or "layers.0.self_attn.q_proj" in path:
        return False
    return {"bits": 8, "group_size": 64} if "v_proj" in path else True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixed folder with an index, as mlx_lm.convert writes it."""
    made = tmp_path_factory.mktemp("mixed")
    plain = write_student(made / "plain", LlamaConfig(**WIDE, tie_word_embeddings=True))
    utils = mlx_lm("utils")
    model, config = utils.load_model(plain, model_config=json.loads((plain / "config.json").read_text()))
    model, config = utils.quantize_model(model, config, group_size=64, bits=4, quant_predicate=mixed)
    utils.save_model(made, model)
    (made / "config.json").write_text(json.dumps(config))
    return made


def by_mlx_lm(folder: Path) -> np.ndarray:
    model, _ = mlx_lm("utils").load_model(folder)
    model.set_dtype(mx.float32)
    return of_mlx(model)


def bits_of(model: Any) -> dict[str, int]:
    return {name.replace(".linear", ""): m.bits for name, m in model.named_modules() if hasattr(m, "scales")}


def test_merged_weights_are_the_trained_student(folder: Path, tmp_path: Path) -> None:
    policy = load(folder, AdapterSpec(rank=2))
    nudge_adapter(policy)
    policy.export(tmp_path / "whole", format="mlx")
    assert "quantization" not in json.loads((tmp_path / "whole/config.json").read_text())
    np.testing.assert_allclose(by_mlx_lm(tmp_path / "whole"), of_policy(policy), atol=1e-4)


def test_quantized_again_layers_keep_their_bits(folder: Path, tmp_path: Path) -> None:
    policy = load(folder, AdapterSpec(rank=2))
    nudge_adapter(policy, scale=0.02)
    policy.export(tmp_path / "four", format="mlx-4bit")
    policy.export(tmp_path / "eight", format="mlx-8bit")
    four, eight = load(tmp_path / "four"), load(tmp_path / "eight")
    assert bits_of(four.model) == bits_of(policy.model)
    assert set(bits_of(eight.model).values()) == {8}
    assert "model.layers.0.self_attn.q_proj" in bits_of(eight.model)
    for student, name in ((four, "four"), (eight, "eight")):
        np.testing.assert_allclose(of_policy(student), by_mlx_lm(tmp_path / name), atol=1e-4)
    gaps = [np.abs(of_policy(student) - of_policy(policy)).mean() for student in (four, eight)]
    assert 0 < 4 * gaps[1] < gaps[0]


def test_a_plain_student_is_quantized_as_mlx_lm_does_it(tmp_path: Path) -> None:
    policy = load(write_student(tmp_path / "plain", LlamaConfig(**WIDE, tie_word_embeddings=False)))
    policy.export(tmp_path / "four", format="mlx-4bit")
    model, _ = mlx_lm("utils").load_model(tmp_path / "plain", model_config={"tie_word_embeddings": False})
    expected, _ = mlx_lm("utils").quantize_model(model, {}, group_size=64, bits=4)
    found: Any = mx.load(str(tmp_path / "four/model.safetensors"))
    weights = mlx_flatten(expected.parameters())
    assert found.keys() == weights.keys()
    assert all(np.array_equal(np.array(found[name]), np.array(value)) for name, value in weights.items())


def test_quantized_students_are_evaluated_without_an_adapter_and_not_trained(folder: Path, tmp_path: Path) -> None:
    policy = load(folder)
    assert policy.info.trainable == 0
    np.testing.assert_allclose(of_policy(policy), by_mlx_lm(folder), atol=1e-4)
    policy.export(tmp_path / "same", format="mlx")
    np.testing.assert_array_equal(by_mlx_lm(tmp_path / "same"), by_mlx_lm(folder))
    needed = MemoryLoad(sequences=1, context=8, train_tokens=8)
    with pytest.raises(BackendError, match="quantized"):
        MLXBackend(MLXOptions(device="cpu")).estimate(StudentSpec(str(folder)), needed)


def test_a_mixed_folder_is_counted_by_its_index(folder: Path, tmp_path: Path) -> None:
    """Before its weights are there: one layer is not quantized, of which the configuration says nothing."""
    needed = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=None)
    backend = MLXBackend(MLXOptions(device="cpu", dtype="float32"))
    for name in ("config.json", "model.safetensors.index.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    held = {id(value): value.nbytes for value in mlx_flatten(load(folder).model.parameters()).values()}
    assert backend.estimate(StudentSpec(str(tmp_path)), needed).parts["weights"] == sum(held.values())


def test_turns_are_compared_as_an_oracle_does(tmp_path: Path) -> None:
    whole = load(write_student(tmp_path / "plain", LlamaConfig(**WIDE, tie_word_embeddings=True)))
    whole.export(tmp_path / "four", format="mlx-4bit")
    rounded = load(tmp_path / "four")
    rounded.export(tmp_path / "rounded")
    contexts = [(1, 2, 3), (4, 5, 6, 7), (8,)]
    how = TurnSampling(temperature=0.7, max_tokens=6, stop_ids=frozenset(), seed=3)
    turns = sampled_turns(whole, contexts, how)
    for policy, folder in ((whole, tmp_path / "plain"), (rounded, tmp_path / "rounded")):
        twin, expected = Float64Twin(folder), []
        for context, group, greedy in zip(contexts, turns.groups, greedy_turns(policy, contexts, how), strict=True):
            ids = list(group.completions[0].ids)
            logits = twin([*context, *ids])[len(context) - 1 : -1]
            expected.append(log_softmax(logits, 0.7)[np.arange(len(ids)), ids])
            likeliest = twin([*context, *greedy])[len(context) - 1 : -1].argmax(-1)
            assert likeliest.tolist() == list(greedy)
        np.testing.assert_allclose(turns.log_probs(policy), np.concatenate(expected), atol=1e-4)
    assert turns.greedy == greedy_turns(whole, contexts, how)


def test_contexts_are_those_before_each_turn_spread_and_once() -> None:
    trace = TokenTrace(
        prompt_ids=(1, 2),
        ids=(3, 4, 5, 6),
        mask=(1, 0, 1, 1),
        log_probs=(-1.0, 0.0, -1.0, -1.0),
        temperature=1.0,
        turns=(SampledTurn(start=0, end=1, version=1), SampledTurn(start=2, end=4, version=1)),
    )
    dialogues = [
        Trajectory(id=f"{i}", problem_id="p", agent="student", messages=(), ending=Ending.ANSWERED, tokens=tokens)
        for i, tokens in enumerate([trace, trace, None, trace.model_copy(update={"prompt_ids": (7,)})])
    ]
    assert contexts_of(dialogues, 9) == [(1, 2), (1, 2, 3, 4), (7,), (7, 3, 4)]
    assert contexts_of(dialogues, 2) == [(1, 2), (7,)]


@pytest.mark.slow
def test_an_export_says_what_quantizing_costs(tmp_path: Path) -> None:
    overrides = {
        "backend": {"use": "mlx", "with": {"quantize": 4, "device": "cpu"}},
        "student.adapter": {"use": "lora", "with": {"rank": 4}},
        "train.0.steps": 1,
        "train.0.problems": 2,
        "evaluate.on.0.problems": 4,
        "evaluate.on.1.problems": 2,
    }
    run = mentor_kit.run("quickstart", overrides=overrides, output=tmp_path / "runs")
    found = CliRunner().invoke(app, ["export", str(run.path), str(tmp_path / "four"), "--format", "mlx-4bit", "--json"])
    assert found.exit_code == 0, found.output
    cost = json.loads(found.stdout)["quantization_cost"]
    assert json.loads((tmp_path / "four/quantization_cost.json").read_text()) == cost
    assert cost["format"] == "mlx-4bit"
    assert cost["contexts"] >= 6
    assert 0 <= cost["same_turns"] <= 1
    assert cost["difference"] > 0
    assert cost["training"] > 0
    assert cost["bytes"] == (tmp_path / "four/model.safetensors").stat().st_size < cost["plain_bytes"]
    card = (tmp_path / "four/README.md").read_text()
    assert "library_name: mlx" in card
    assert f"{cost['tokens']:,} tokens" in card
    plain = CliRunner().invoke(app, ["export", str(run.path), str(tmp_path / "whole"), "--format", "mlx", "--json"])
    assert "quantization_cost" not in json.loads(plain.stdout)
