"""A backend's contracts on a GPU: both suites in 32 and 16 bits, graphs on and off, checkpoints, kill and resume."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_torch_checkpoints
import torch
from mentor_kit_torch.cuda_graphs import CudaGraphs
from mentor_kit_torch.policy import TorchPolicy
from mentor_kit_torch.wide_sums import add_product, adds_in_float32
from safetensors.numpy import load_file
from torch_students import SHAPE, load, write_student
from transformers import LlamaConfig

from mentor_kit import api
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.recipe.settings import parse_settings
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.checkpoints import LoadPolicy
from mentor_kit.testing.material import Oracle, drive, flat, group_of, log_softmax, ragged_groups, request
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.sampling import SamplingContract
from mentor_kit.testing.training import GradientContract, TrajectoryContract

pytestmark = pytest.mark.cuda

DEVICE = "cuda"
#: What rounding to bfloat16 may move a log-probability of the tiny students by.
ROUNDING = 0.4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with heads of a width that every way of attention has kernels for: FlexAttention's have 16 at least."""
    config = LlamaConfig(**SHAPE, head_dim=16, tie_word_embeddings=True)
    return write_student(tmp_path_factory.mktemp("student"), config)


def load_on_gpu(folder: Path, adapter: AdapterSpec | None = None, /, **options: Any) -> TorchPolicy:
    """A policy on the GPU, in float32 unless options say otherwise."""
    return load(folder, adapter, **({"device": DEVICE} | options))


class TestFullOnCuda(BackendContract, GradientContract, TrajectoryContract):
    @pytest.fixture(params=[False, True], ids=["plain", "graphs"])
    def policy_factory(self, folder: Path, request: pytest.FixtureRequest) -> Callable[[int | None], Policy]:
        return lambda budget: load_on_gpu(folder, token_budget=budget or 16384, cuda_graphs=request.param)


class TestAdapterOnCuda(BackendContract, GradientContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load_on_gpu(folder, AdapterSpec(rank=4, alpha=8.0), token_budget=budget or 16384)


class TestRecomputedOnCuda(GradientContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load_on_gpu(folder, token_budget=budget or 16384, gradient_checkpointing=True)


class TestAttentionOnCuda(GradientContract):
    """Every way of attention in 32 bits; FlashAttention has 16 alone."""

    @pytest.fixture(params=["flex", "efficient", "plain"])
    def policy_factory(self, folder: Path, request: pytest.FixtureRequest) -> Callable[[int | None], Policy]:
        way = {"attention_kernels": request.param}
        return lambda budget: load_on_gpu(folder, token_budget=budget or 16384, **way)


class TestFewSlotsOnCuda(SamplingContract):
    """Rows are given up and taken again all the time; prompts are prefilled in small parts."""

    draws = 600

    @pytest.fixture(params=[False, True], ids=["plain", "graphs"])
    def policy_factory(self, folder: Path, request: pytest.FixtureRequest) -> Callable[[int | None], Policy]:
        few = {"slots": 3, "prefill_chunk": 4, "cuda_graphs": request.param}
        return lambda budget: load_on_gpu(folder, token_budget=budget or 64, **few)


class TestCheckpointsOnCuda(test_torch_checkpoints.TestTorchCheckpoints):
    @pytest.fixture
    def load_policy(self) -> LoadPolicy:
        return load_on_gpu


@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("adapter", [None, AdapterSpec(rank=4)], ids=["full", "adapter"])
def test_16_bits_sample_and_score_what_32_bits_do_but_for_rounding(
    folder: Path, oracle: Oracle, adapter: AdapterSpec | None, dtype: str, graphs: bool
) -> None:
    policy = load_on_gpu(folder, adapter, dtype=dtype, cuda_graphs=graphs)
    np.testing.assert_allclose(
        flat(policy.log_probs(ragged_groups(policy.info.vocabulary))),
        flat(load(folder, adapter).log_probs(ragged_groups(policy.info.vocabulary))),
        atol=ROUNDING,
    )
    prompt = [1, 2, 3]
    done = drive(policy.engine(), [request(str(n), prompt, max_new_tokens=12, seed=n) for n in range(6)])
    for found in done.values():
        context = list(prompt)
        for token, log_prob in zip(found.ids, found.log_probs, strict=True):
            assert log_prob == pytest.approx(log_softmax(oracle(context)[-1], 1.0)[token], abs=ROUNDING)
            context.append(token)
    group = group_of(prompt, [done[str(n)] for n in range(6)], [1.0] * 6)
    sampled = np.concatenate([found.log_probs for found in group.completions])
    np.testing.assert_allclose(flat(policy.log_probs([group])), sampled, atol=ROUNDING / 2)


@pytest.mark.parametrize("way", ["flex", "flash", "efficient"])
def test_attention_in_16_bits_is_that_of_plain_products_but_for_rounding(folder: Path, way: str) -> None:
    if way == "flash" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("FlashAttention is for GPUs of compute capability 8.0 and higher")

    def outcome(kernels: str) -> tuple[np.ndarray, float]:
        policy = load_on_gpu(folder, dtype="bfloat16", attention_kernels=kernels)
        policy.prepare(OptimizerSpec(clip=None))
        groups = ragged_groups(policy.info.vocabulary)
        log_probs = flat(policy.log_probs(groups))
        policy.forward_backward(groups, make_objective(preset="sft"))
        return log_probs, policy.optimizer_step(1e-3).gradient_norm

    (found, norm), (expected, plain_norm) = outcome(way), outcome("plain")
    np.testing.assert_allclose(found, expected, atol=ROUNDING / 2)
    assert norm == pytest.approx(plain_norm, rel=0.1)


def test_trees_are_done_by_flex_attention_unless_told_otherwise(folder: Path) -> None:
    """Or nothing here would run its compiled kernels."""
    policy = load_on_gpu(folder)
    assert torch.float32 in policy.lm.attention.flex


@pytest.mark.parametrize("heads", [2, 4, 8])
def test_short_trees_are_done_by_flex_attention_too(tmp_path: Path, heads: int) -> None:
    """PyTorch's kernel for few queries has no configuration for some of their numbers."""
    config = LlamaConfig(**SHAPE | {"num_attention_heads": heads, "num_key_value_heads": 1}, head_dim=16)
    folder = write_student(tmp_path, config)
    for length in (33, 70, 100, 127, 140):
        completion = TokenCompletion(np.arange(20) + length % 7, np.ones(20), np.zeros(20))
        group = TokenGroup(np.arange(length - 20) % 90, (completion,))
        found, plain = (
            load_on_gpu(folder, attention_kernels=way).log_probs([group]) for way in ("flex", "plain")
        )  # fmt: skip
        np.testing.assert_allclose(found[0][0], plain[0][0], atol=1e-3)


def test_a_capture_that_breaks_leaves_nothing_behind() -> None:
    calls = []

    def work() -> torch.Tensor:
        calls.append(len(calls))
        found = torch.ones(8, device=DEVICE) * 2
        if len(calls) == 2:  # in the capture, where waiting is not allowed
            found.sum().item()
        return found

    recorder = CudaGraphs(torch.device(DEVICE, 0))
    stream = torch.cuda.current_stream()
    with pytest.raises(RuntimeError):
        recorder(work)
    assert torch.cuda.current_stream() == stream
    dropped = torch.nn.functional.dropout(torch.ones(1000, device=DEVICE), 0.5)
    assert 300 < int((dropped == 0).sum()) < 700
    torch.testing.assert_close(recorder(work)().cpu(), torch.full((8,), 2.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_the_vocabulary_are_added_up_in_float32(dtype: torch.dtype) -> None:
    assert adds_in_float32(torch.device(DEVICE, 0), dtype)
    draws = torch.Generator(device=DEVICE).manual_seed(1)
    left, right = (torch.randn(shape, generator=draws, device=DEVICE).to(dtype) for shape in ((300, 70), (70, 90)))
    total = torch.randn((300, 90), generator=draws, device=DEVICE)
    expected = total.double() + left.double() @ right.double()
    add_product(total, left, right)
    torch.testing.assert_close(total.double(), expected, rtol=1e-4, atol=1e-4)


def settings(*more: str) -> list[str]:
    """A short quickstart on the GPU, saved after each step."""
    return [
        "backend.use=torch", f"backend.device={DEVICE}", "train.0.steps=4", "train.0.problems=2", "train.0.group=4",
        "checkpoints.every=1", "evaluate.on.0.problems=4", "evaluate.on.1.problems=4", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(tmp_path: Path, dtype: str) -> None:
    chosen = settings(f"backend.dtype={dtype}")
    whole = api.run("quickstart", overrides=parse_settings(chosen), output=tmp_path / "whole").path
    words = [word for setting in chosen for word in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mentor_kit.cli", "run", "quickstart", *words, "--output", str(tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_a_checkpoint(tmp_path / "killed", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = next((tmp_path / "killed").rglob("events.jsonl")).parent
    api.resume(killed)
    assert weights(killed) == weights(whole)


def wait_for_a_checkpoint(root: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a step has been saved."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if any('"step"' in file.read_text() for file in root.rglob("events.jsonl")):
            return
        time.sleep(0.05)
    pytest.fail("the run ended before it was killed")


def weights(run: Path) -> dict[str, bytes]:
    """The student of a run, to the bit."""
    (file,) = (run / "student").glob("*.safetensors")
    return {name: value.tobytes() for name, value in load_file(file).items()}
