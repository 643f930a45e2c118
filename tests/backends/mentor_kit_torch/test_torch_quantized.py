"""Students in 4 and 8 bits by bitsandbytes: what they compute, learn and leave is that of the weights they stand for.

Tests that run them need the package (`make quantized`), which is no requirement of the others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch import quantized
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from peft_oracles import by_peft, of_model, of_policy
from torch_students import SHAPE, Float64Twin, load, nudge_adapter, write_student
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit.testing.material import drive, group_of, log_softmax, request
from mentor_kit.testing.objectives import make_objective

WIDE = SHAPE | {"hidden_size": 64, "intermediate_size": 96, "initializer_range": 0.1}
ADAPTER = AdapterSpec(rank=3, alpha=5.0)
runs = pytest.mark.bitsandbytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("student"), LlamaConfig(**WIDE, tie_word_embeddings=False))


def by_bitsandbytes(folder: Path, bits: int) -> Any:
    how = {"load_in_8bit": True}
    if bits == 4:
        how = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=BitsAndBytesConfig(**how), dtype=torch.float32
    )


@pytest.fixture(scope="module")
def plain(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The weights that the quantized ones stand for, as transformers widens them."""
    made = {bits: tmp_path_factory.mktemp(f"plain-{bits}") for bits in (4, 8)}
    for bits, target in made.items():
        by_bitsandbytes(folder, bits).dequantize().save_pretrained(target)
    return made


def estimated(folder: Path, adapter: AdapterSpec | None, **options: Any) -> MemoryEstimate:
    needed = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=OptimizerSpec())
    backend = TorchBackend(TorchOptions(device="cpu", dtype="float32", **options))
    return backend.estimate(StudentSpec(str(folder), adapter=adapter), needed)


@runs
@pytest.mark.parametrize("bits", [4, 8])
def test_everything_that_is_written_is_the_student(
    folder: Path, plain: dict[int, Path], tmp_path: Path, bits: int
) -> None:
    policy = load(folder, ADAPTER, quantize=bits)
    nudge_adapter(policy)
    found = of_policy(policy)
    assert np.abs(found - of_policy(load(folder, ADAPTER))).max() > 1e-2
    policy.export(tmp_path / "adapter", format="adapter")
    policy.export(tmp_path / "whole")
    np.testing.assert_allclose(by_peft(plain[bits], tmp_path / "adapter"), found, atol=1e-4)
    np.testing.assert_allclose(of_model(AutoModelForCausalLM.from_pretrained(tmp_path / "whole")), found, atol=1e-4)
    assert "quantization_config" not in json.loads((tmp_path / "whole/config.json").read_text())
    np.testing.assert_array_equal(of_policy(policy), found)
    again = load(folder, AdapterSpec(path=tmp_path / "adapter"), quantize=bits)
    np.testing.assert_allclose(of_policy(again), found, atol=1e-5)


@runs
@pytest.mark.parametrize("bits", [4, 8])
def test_rows_sample_what_the_plain_weights_would(folder: Path, plain: dict[int, Path], bits: int) -> None:
    policy, twin = load(folder, ADAPTER, quantize=bits), Float64Twin(plain[bits])
    contexts = [[1, 2, 3], list(range(4, 40)), [9]]
    requests = [request(f"{i}", context, temperature=0.8, max_new_tokens=8) for i, context in enumerate(contexts)]
    for index, done in drive(policy.engine(), requests).items():
        context = contexts[int(index)]
        rows = log_softmax(twin([*context, *done.ids])[len(context) - 1 : -1], 0.8)
        np.testing.assert_allclose(done.log_probs, rows[np.arange(len(done.ids)), list(done.ids)], atol=1e-4)


@runs
@pytest.mark.parametrize("bits", [4, 8])
def test_they_learn_as_the_plain_weights_would(folder: Path, plain: dict[int, Path], tmp_path: Path, bits: int) -> None:
    policy, other = load(folder, ADAPTER, quantize=bits), load(plain[bits], ADAPTER)
    requests = [request(f"{i}", [1, 2, 3], seed=i, max_new_tokens=6) for i in range(4)]
    done = [drive(policy.engine(), [one])[one.id] for one in requests]  # an update after sampling, as in a run
    groups = [group_of([1, 2, 3], done, [1.0, -1.0, 0.5, -0.5])]
    for student in (policy, other):
        nudge_adapter(student)
        student.prepare(OptimizerSpec())
        student.forward_backward(groups, make_objective(preset="dapo"))
    expected = {name: p.grad for name, p in other.model.named_parameters() if p.requires_grad}
    for name, parameter in policy.model.named_parameters():
        if parameter.requires_grad:
            np.testing.assert_allclose(parameter.grad, expected[name], rtol=1e-3, atol=1e-6)
    policy.optimizer_step(1e-3)
    policy.save(tmp_path / "checkpoint")
    again = load(folder, ADAPTER, quantize=bits)
    again.restore(tmp_path / "checkpoint")
    np.testing.assert_array_equal(of_policy(again), of_policy(policy))


@runs
@pytest.mark.parametrize("bits", [4, 8])
def test_folders_that_are_quantized_already(folder: Path, tmp_path: Path, bits: int) -> None:
    by_bitsandbytes(folder, bits).save_pretrained(tmp_path / "base")
    policy = load(tmp_path / "base")
    assert policy.info.trainable == 0
    with pytest.raises(BackendError, match="quantized"):
        policy.prepare(OptimizerSpec())
    np.testing.assert_array_equal(of_policy(policy), of_policy(load(folder, ADAPTER, quantize=bits)))
    policy.export(tmp_path / "plain")
    np.testing.assert_allclose(
        of_model(AutoModelForCausalLM.from_pretrained(tmp_path / "plain")), of_policy(policy), atol=1e-4
    )
    adapted = load(tmp_path / "base", ADAPTER)
    nudge_adapter(adapted)
    adapted.export(tmp_path / "whole")
    np.testing.assert_allclose(
        of_model(AutoModelForCausalLM.from_pretrained(tmp_path / "whole")), of_policy(adapted), atol=1e-4
    )
    assert estimated(tmp_path / "base", ADAPTER) == estimated(folder, ADAPTER, quantize=bits)


@runs
@pytest.mark.parametrize("bits", [4, 8])
def test_dry_runs_count_what_is_held(folder: Path, bits: int) -> None:
    policy, found = load(folder, ADAPTER, quantize=bits), estimated(folder, ADAPTER, quantize=bits)
    assert (found.trainable, found.parameters + found.trainable) == (policy.info.trainable, policy.info.parameters)
    held = 0
    for parameter in policy.model.parameters():
        held += parameter.nbytes + (parameter.SCB.nbytes if getattr(parameter, "SCB", None) is not None else 0)
        if (state := getattr(parameter, "quant_state", None)) is not None:
            scales = (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
            held += sum(value.nbytes for value in scales)
    assert found.parts["weights"] == held


def test_a_dry_run_needs_no_bitsandbytes(folder: Path) -> None:
    """Seven layers of each of two blocks, by hand: half a byte a number, a byte for 64, and tables."""
    shapes = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 96), (64, 96), (96, 64)]
    full = estimated(folder, ADAPTER).parts["weights"]
    numbers = [first * second for first, second in shapes * 2]
    eight = sum(count - 4 * count + 4 * rows for count, (_, rows) in zip(numbers, shapes * 2, strict=True))
    four = sum(count // 2 - 4 * count + count // 64 + 4 * -(-count // 16384) + 64 + 1028 for count in numbers)
    assert estimated(folder, ADAPTER, quantize=8).parts["weights"] == full + eight
    assert estimated(folder, ADAPTER, quantize=4).parts["weights"] == full + four
    with pytest.raises(BackendError, match="quantized"):
        estimated(folder, None, quantize=4)


def test_the_package_is_named_where_it_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(MissingError) as error:
        load(folder, ADAPTER, quantize=4)
    assert "mentor-kit[bitsandbytes]" in error.value.hint
