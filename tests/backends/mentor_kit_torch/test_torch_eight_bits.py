"""AdamW's moments in 8 bits: they learn as those of 32, take a quarter, and resume to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.optimizer import TorchOptimizer
from mentor_kit_torch.options import TorchOptions
from torch import nn
from torch_students import SHAPE, load, write_student
from transformers import LlamaConfig

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.core.errors import BackendError, MissingError
from mentor_kit.testing.checkpoints import learn, seen

runs = pytest.mark.bitsandbytes
EIGHT = OptimizerSpec(bits=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student whose matrices have more numbers than keep 32 bits."""
    shape = SHAPE | {"hidden_size": 64, "intermediate_size": 96, "num_key_value_heads": 4}
    return write_student(tmp_path_factory.mktemp("student"), LlamaConfig(**shape, tie_word_embeddings=True))


class Net(nn.Module):
    """One large matrix and a small one."""

    def __init__(self, spec: OptimizerSpec) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.large = nn.Parameter(torch.randn(96, 100, generator=generator))
        self.small = nn.Parameter(torch.randn(10, 10, generator=generator))
        self.optimizer = TorchOptimizer(self, spec)

    def get_input_embeddings(self) -> None:
        return None

    get_output_embeddings = get_input_embeddings


@runs
@pytest.mark.parametrize("use", ["adamw", "muon"])
def test_steps_are_those_of_32_bits_but_for_the_moments_rounding(use: str) -> None:
    """A gradient that is always the same moves each weight by the learning rate; noise is kept to a few percent."""
    spec = OptimizerSpec.model_validate({"use": use, "clip": None, "betas": (0.9, 0.99), "weight_decay": 0.1})
    nets = [Net(spec), Net(spec.model_copy(update={"bits": 8}))]
    rng, before = np.random.default_rng(0), {name: value.detach().clone() for name, value in nets[0].named_parameters()}
    mean = {name: rng.normal(size=value.shape) for name, value in before.items()}
    for _ in range(20):
        gradients = {name: torch.tensor(value + 0.5 * rng.normal(size=value.shape)) for name, value in mean.items()}
        for net in nets:
            sum((value * gradients[name].float()).sum() for name, value in net.named_parameters()).backward()
            net.optimizer.step(1e-2)
    exact, rounded = (dict(net.named_parameters()) for net in nets)
    assert torch.allclose(exact["small"], rounded["small"], atol=1e-6)
    moved, found = exact["large"] - before["large"], rounded["large"] - before["large"]
    limit = 1e-5 if use == "muon" else 0.05
    assert (found - moved).norm() < limit * moved.norm()
    # and they are rounded, or nothing was saved
    assert use == "muon" or not torch.allclose(found, moved, atol=1e-5)


@runs
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("adapter", [None, AdapterSpec(rank=80)], ids=["full", "adapter"])
def test_it_resumes_to_the_bit(folder: Path, tmp_path: Path, adapter: AdapterSpec | None, dtype: str) -> None:
    policy = load(folder, adapter, dtype=dtype)
    policy.prepare(EIGHT)
    before = seen(policy)
    learn(policy, 2)
    policy.save(tmp_path)
    learn(policy, 2)
    other = load(folder, adapter, dtype=dtype)
    other.restore(tmp_path)
    learn(other, 2)
    np.testing.assert_array_equal(seen(other), seen(policy))
    assert np.abs(seen(policy) - before).max() > 0.1


@runs
def test_a_copy_in_another_process_goes_on_alike(folder: Path) -> None:
    """By the arrays that a joining process is sent."""
    policy, other = load(folder), load(folder)
    for one in (policy, other):
        one.prepare(EIGHT)
    learn(policy, 2)
    assert policy.optimizer is not None
    assert other.optimizer is not None
    other.optimizer.load_arrays({name: value.clone() for name, value in policy.optimizer.arrays().items()})
    learn(policy, 2)
    learn(other, 2)
    np.testing.assert_array_equal(seen(other), seen(policy))


@runs
def test_its_moments_take_what_the_estimate_says(folder: Path) -> None:
    policy = load(folder)
    policy.prepare(EIGHT)
    learn(policy)
    assert policy.optimizer is not None
    kept = sum(
        value.nbytes
        for name, value in policy.optimizer.arrays().items()
        if name.split("/")[0] in ("state1", "state2", "absmax1", "absmax2")
    )
    assert estimated(folder, EIGHT) == pytest.approx(kept, rel=0.1)
    assert estimated(folder, OptimizerSpec()) / estimated(folder, EIGHT) == pytest.approx(4 / (1 + 4 / 256), rel=0.01)


def estimated(folder: Path, spec: OptimizerSpec) -> int:
    needed = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=spec)
    backend = TorchBackend(TorchOptions(device="cpu", dtype="float32"))
    return backend.estimate(StudentSpec(str(folder)), needed).parts["optimizer"]


def test_without_bitsandbytes_the_command_that_installs_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mentor_kit_torch.quantized.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="moments of 8 bits") as error:
        load(folder).prepare(EIGHT)
    assert "mentor-kit[bitsandbytes]" in str(error.value.hint)


def test_mlx_says_that_it_has_none(folder: Path) -> None:
    mlx_backend, mlx_options = (
        pytest.importorskip("mentor_kit_mlx.backend"),
        pytest.importorskip("mentor_kit_mlx.options"),
    )
    backend = mlx_backend.MLXBackend(mlx_options.MLXOptions(device="cpu", dtype="float32"))
    with pytest.raises(BackendError, match="32 bits"):
        backend.load(StudentSpec(str(folder)), 0).prepare(EIGHT)
    with pytest.raises(BackendError, match="32 bits"):
        backend.estimate(StudentSpec(str(folder)), MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=EIGHT))
