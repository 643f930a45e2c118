"""Families of models against transformers in float64, what can go wrong with a folder, and what a run would need."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from mlx_students import load, nudge_adapter
from test_torch_architectures import FAMILIES, WINDOW, make
from torch_students import SHAPE, Float64Twin, write_student
from transformers import LlamaConfig

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError, MissingError, UsageError
from mentor_kit.testing.material import drive, flat, log_softmax, ragged_groups, request

GROUPS = ragged_groups(100)
#: What mlx-lm runs as transformers does; the others it has not, or computes otherwise.
KNOWN = ["qwen2", "qwen2-tied", "qwen3", "gemma3", "granite", "cohere", "phi3", "smollm3", "olmo2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_student(tmp_path / "student")


def agrees(policy: Any, twin: Float64Twin, tolerance: float = 1e-4) -> None:
    """Log-probabilities and samples are those of transformers."""
    for group, rows in zip(GROUPS, policy.log_probs(GROUPS), strict=True):
        for completion, row in zip(group.completions, rows, strict=True):
            if len(row):
                logits = twin([*group.prompt_ids, *completion.ids])[len(group.prompt_ids) - 1 : -1]
                found = log_softmax(logits, 1.0)[np.arange(len(row)), completion.ids] * completion.mask
                np.testing.assert_allclose(row, found, atol=tolerance)
    item = request("a", [3, 1, 4, 1, 5, 9], max_new_tokens=12)
    done = drive(policy.engine(), [item])["a"]
    rows = log_softmax(twin([*item.context, *done.ids])[len(item.context) - 1 : -1], 1.0)
    np.testing.assert_allclose(done.log_probs, rows[np.arange(len(done.ids)), list(done.ids)], atol=tolerance)


@pytest.mark.parametrize("name", KNOWN)
def test_family(name: str, tmp_path: Path) -> None:
    assert name in FAMILIES
    folder = make(name, tmp_path)
    policy = load(folder)
    assert policy._keeps
    # mlx-lm rounds the scale of Gemma's embeddings to bfloat16
    tolerance = 1e-3 if name == "gemma3" else 1e-4
    agrees(policy, Float64Twin(folder), tolerance)
    policy.export(tmp_path / "exported")
    agrees(policy, Float64Twin(tmp_path / "exported"), tolerance)


def test_a_window_that_mlx_lm_does_not_know_limits_the_context(tmp_path: Path) -> None:
    assert load(make("mistral-window", tmp_path)).info.context == WINDOW


ROPES: dict[str, dict[str, Any]] = {
    "theta": {"rope_type": "default", "rope_theta": 100.0},
    "linear": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 200.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}


@pytest.mark.parametrize("rope", ROPES)
def test_rope_parameters_are_read(rope: str, tmp_path: Path) -> None:
    """mlx-lm reads `rope_theta`; transformers 5 writes `rope_parameters`."""
    folder = write_student(tmp_path, LlamaConfig(**SHAPE, rope_parameters=ROPES[rope], tie_word_embeddings=True))
    assert "rope_theta" not in json.loads((folder / "config.json").read_text())
    agrees(load(folder), Float64Twin(folder))


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_that_the_file_says_nothing_of(tied: bool, tmp_path: Path) -> None:
    """mlx-lm takes Llama's embeddings for tied, transformers does not."""
    folder = write_student(tmp_path, LlamaConfig(**SHAPE, tie_word_embeddings=tied))
    config = json.loads((folder / "config.json").read_text())
    if not tied:
        config.pop("tie_word_embeddings", None)
        (folder / "config.json").write_text(json.dumps(config))
    policy = load(folder)
    assert ("lm_head" in policy.model) == (not tied)
    agrees(policy, Float64Twin(folder))


@pytest.mark.slow
@pytest.mark.parametrize(("before", "least"), [(256, 2048), (1500, 2048), (3000, 3000)])
def test_the_limit_of_open_files_is_not_lowered(before: int, least: int) -> None:
    """Importing mlx-lm alone sets it to 2,048: macOS's terminals have 256, Linux's often more."""
    code = (
        "import resource\n"
        "from mentor_kit_mlx.mlx_lm_import import mlx_lm; mlx_lm('utils')\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )

    def fewer() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=fewer)
    assert done.stdout.strip() == str(least), done.stderr


def lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_device_that_is_not_there() -> None:
    if mx.is_available(mx.gpu):
        pytest.skip("this machine has it")
    with pytest.raises(MissingError, match=r"backend\.device"):
        MLXBackend(MLXOptions(device="gpu")).load(StudentSpec(model="x"), 0)


def test_options() -> None:
    for wrong in ({"device": "cuda"}, {"dtype": "int8"}, {"slots": 0}, {"quantize": 3}, {"memory": 0}, {"slot": 3}):
        with pytest.raises(UsageError):
            MLXOptions(**wrong)


def test_estimates_with_little_memory(folder: Path) -> None:
    spec = StudentSpec(str(folder))
    load_ = MemoryLoad(sequences=20, context=64, train_tokens=1000, optimizer=OptimizerSpec(), reference=True)
    tight = MLXBackend(MLXOptions(device="cpu", memory=1e-6)).estimate(spec, load_)
    assert any("cannot fit" in note for note in tight.notes)


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    # weights take 75 kB, and as much again gradients and each of two moments; a row of keys and values 33 kB
    with pytest.raises(BackendError, match="does not fit"):
        load(folder, memory=1e-4)
    tight = load(folder, memory=2e-4)
    with pytest.raises(BackendError, match="gradients and optimizer"):
        tight.prepare(OptimizerSpec())


def test_little_memory_means_fewer_at_once(folder: Path) -> None:
    ten = [request(str(i), [1, 2, 3 + i]) for i in range(10)]
    few = load(folder, memory=1.0e-3).engine()
    for item in ten:
        few.submit(item)
    few.step()
    assert 2 <= few.device.nbytes // (128 * 2 * 2 * 2 * 8 * 4) < 10
    found, expected = drive(few, []), drive(load(folder).engine(), ten)
    assert {name: c.ids for name, c in found.items()} == {name: c.ids for name, c in expected.items()}


def test_quantized_models_take_adapters(tmp_path: Path) -> None:
    folder = write_student(tmp_path, LlamaConfig(**SHAPE | {"hidden_size": 64, "intermediate_size": 64}))
    with pytest.raises(BackendError, match="quantized"):
        load(folder, quantize=8).prepare(OptimizerSpec())
    policy = load(folder, AdapterSpec(rank=2), quantize=8)
    plain = load(folder, AdapterSpec(rank=2))
    assert policy.info.trainable == plain.info.trainable
    np.testing.assert_allclose(flat(policy.log_probs(GROUPS)), flat(plain.log_probs(GROUPS)), atol=0.3)
    nudge_adapter(policy)
    policy.export(tmp_path / "mlx", format="mlx")
    again = load(tmp_path / "mlx", AdapterSpec(rank=2))
    np.testing.assert_allclose(flat(again.log_probs(GROUPS)), flat(policy.log_probs(GROUPS)), atol=0.3)
    with pytest.raises(BackendError, match="no layer's width"):
        load(write_student(tmp_path / "narrow"), AdapterSpec(rank=2), quantize=4)


def test_nothing_of_transformers_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(folder)
    assert capsys.readouterr().out == ""
