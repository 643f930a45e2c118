"""Students in 16 bits: how they are run is found out in spite of rounding, and their gradients are those of 32 bits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from mentor_kit_torch import kernels, loading
from mentor_kit_torch.fused_llama import RMSNorm
from mentor_kit_torch.loading import WIDE, pick_dtype
from mentor_kit_torch.policy import TorchPolicy
from mentor_kit_torch.self_check import exact
from test_torch_architectures import make
from test_torch_fused_llama import LEAN, gradients
from torch_students import SHAPE, load, write_student
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from mentor_kit.testing.material import flat, ragged_groups


def states(*shape: int, seed: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.spread
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", LEAN)
def test_which_models_are_of_the_kind(name: str, dtype: str, tmp_path: Path) -> None:
    policy, wide = load(make(name, tmp_path), dtype=dtype), load(tmp_path)
    assert (policy.lm.fused is not None) == LEAN[name]
    assert (policy.engine().device.keeps_rows, policy._sharing) == (wide.engine().device.keeps_rows, wide._sharing)


def deep(folder: Path, **other: Any) -> Path:
    """A model whose results in 16 bits are mostly rounding."""
    return write_student(
        folder, transformers.GraniteConfig(**SHAPE | {"num_hidden_layers": 40, "initializer_range": 0.6} | other)
    )


def test_rounding_is_told_apart_from_another_way_of_running(tmp_path: Path) -> None:
    policy = load(deep(tmp_path / "same"), dtype="bfloat16")
    assert policy.lm.fused is not None
    assert load(deep(tmp_path / "other", residual_multiplier=0.9), dtype="bfloat16").lm.fused is None
    groups = ragged_groups(100)
    lean, policy.lm.fused = flat(policy.log_probs(groups)), None
    # what a comparison in 16 bits would have to put up with
    assert np.abs(lean - flat(policy.log_probs(groups))).max() > 1


def test_a_trial_leaves_the_weights_as_they_were(tmp_path: Path) -> None:
    folder = write_student(tmp_path)
    policy = load(folder, dtype="bfloat16")
    expected = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
    same_bits(policy, expected)
    with pytest.raises(RuntimeError, match="in between"):
        interrupted(policy)
    same_bits(policy, expected)


def interrupted(policy: TorchPolicy) -> None:
    with exact(policy.lm):
        layers = policy.lm.decoder.layers
        for layer in (next(iter(layers)), layers[1]):
            assert layer.mlp.up_proj.weight.dtype == torch.float32
        raise RuntimeError("in between")


def same_bits(policy: TorchPolicy, expected: dict[str, torch.Tensor]) -> None:
    assert policy.lm.dtype == torch.bfloat16
    for name, value in policy.model.state_dict().items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, expected[name]), name


def test_the_trial_runs_in_32_bits(tmp_path: Path) -> None:
    folder = write_student(tmp_path)
    policy = load(folder, dtype="bfloat16")
    twin = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).float()
    ids, places = torch.arange(40).reshape(2, 20), torch.arange(20).expand(2, -1)
    with torch.no_grad(), exact(policy.lm):
        found = policy.lm.logits(policy.lm.hidden(ids, places))
        torch.testing.assert_close(found, twin(ids).logits, atol=1e-4, rtol=1e-4)


def test_norm() -> None:
    norm, x, grad = LlamaRMSNorm(64, eps=1e-3).bfloat16(), states(5, 64, seed=0), states(5, 64, seed=2)
    norm.weight.data = states(64, seed=1)
    inputs = [x.double().requires_grad_(), norm.weight.detach().double().requires_grad_()]
    root = (inputs[0].square().mean(dim=-1, keepdim=True) + 1e-3).rsqrt()
    expected = inputs[0] * root * inputs[1]
    wanted = torch.autograd.grad(expected, inputs, grad.double())
    x.requires_grad_()
    found = RMSNorm.apply(x, norm.weight, 1e-3)
    assert found.dtype == torch.bfloat16
    # but for where the mean of squares rounds to a neighbour, it is transformers' to the bit
    assert (found == norm(x)).float().mean() > 0.98
    torch.testing.assert_close(found.double(), expected, atol=1e-2, rtol=2e-2)
    for one, other in zip(torch.autograd.grad(found, [x, norm.weight], grad), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-2, rtol=2e-2)


@pytest.mark.parametrize("keys", [7, kernels.FEW_KEYS, kernels.FEW_KEYS + 1])
def test_gradients_of_attention(keys: int) -> None:
    query, grad = states(2, 4, 7, 8, seed=0), states(2, 4, 7, 8, seed=1)
    key, value = states(2, 2, keys, 8, seed=2), states(2, 2, keys, 8, seed=3)
    bias = kernels.bias_of(states(2, 1, 7, keys, seed=4) > -1, query.dtype)
    inputs = [part.double().requires_grad_() for part in (query, key, value)]
    scores = inputs[0] @ inputs[1].repeat_interleave(2, dim=1).transpose(-1, -2) * 0.3 + bias
    out = torch.softmax(scores, dim=-1) @ inputs[2].repeat_interleave(2, dim=1)
    wanted = torch.autograd.grad(out, inputs, grad.double())
    merged = kernels.attend(query, key, value, 0.3, bias=bias)
    found = kernels.gradients(grad, query, key, value, merged, 0.3, bias=bias)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double() - other).norm() < 0.02 * other.norm()


def test_gradients_of_an_update(tmp_path: Path) -> None:
    policy = load(write_student(tmp_path / "student"), dtype="bfloat16")
    policy.export(tmp_path / "rounded")
    gradients(policy)
    assert policy.optimizer is not None
    parts = policy.optimizer
    found = {name: master.grad for (name, _), master in zip(parts._parameters, parts._masters, strict=True)}
    for name, value in gradients(load(tmp_path / "rounded")).items():
        assert (found[name] - value).norm() < 0.1 * value.norm(), name


def test_a_run_of_32_bits_goes_on_in_16_without_losing_any(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "student")
    wide, policy = load(folder), load(folder, dtype="bfloat16")
    gradients(wide)
    wide.optimizer_step(1e-2)
    wide.save(tmp_path / "checkpoint")
    policy.restore(tmp_path / "checkpoint")
    assert policy.optimizer is not None
    expected = dict(wide.model.named_parameters())
    for (name, parameter), master in zip(policy.optimizer._parameters, policy.optimizer._masters, strict=True):
        assert torch.equal(master, expected[name]), name
        assert torch.equal(parameter, expected[name].bfloat16()), name


@pytest.mark.parametrize(
    ("device", "units", "width", "expected"),
    [
        ("cpu", "amx_bf16", WIDE, torch.bfloat16),
        ("cpu", "avx512_bf16", WIDE, torch.bfloat16),
        ("cpu", "avx512_bf16", WIDE - 8, torch.float32),
        ("cpu", "avx512_f", WIDE, torch.float32),
        ("cuda", "avx512_f", 32, torch.bfloat16),
        ("mps", "amx_bf16", WIDE, torch.float32),
    ],
)
def test_the_type_that_is_taken(
    device: str, units: str, width: int, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False, units: True})
    config = transformers.LlamaConfig(**SHAPE | {"hidden_size": width})
    assert pick_dtype("auto", torch.device(device), config) == expected
    assert pick_dtype("float16", torch.device(device), config) == torch.float16


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16), ((12, 0), torch.bfloat16)],
)
def test_a_gpu_without_units_for_bfloat16_computes_in_float32(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    config = transformers.LlamaConfig(**SHAPE)
    assert pick_dtype("auto", torch.device("cuda"), config) == expected


def test_an_older_pytorch_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cpu", SimpleNamespace())
    assert not loading.multiplies_bfloat16()
