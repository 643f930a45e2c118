"""Optimizers against NumPy twins written from the papers, and against PyTorch's."""

from __future__ import annotations

from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch
from mentor_kit_mlx.optimizer import MLXOptimizer
from mentor_kit_mlx.params import trained
from test_torch_optimizers import adamw, muon

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import BackendError


class Net(nn.Module):
    """One table of tokens, two hidden matrices, one vector."""

    def __init__(self, dtype: Any = mx.float32) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.table = nn.Embedding(5, 4)
        self.hidden = nn.Linear(4, 6)
        self.wide = nn.Linear(6, 3, bias=False)
        self.update(
            {
                "table": {"weight": mx.array(rng.normal(size=(5, 4)), dtype=dtype)},
                "hidden": {
                    "weight": mx.array(rng.normal(size=(6, 4)), dtype=dtype),
                    "bias": mx.array(rng.normal(size=6), dtype=dtype),
                },
                "wide": {"weight": mx.array(rng.normal(size=(3, 6)), dtype=dtype)},
            }
        )


def values(net: Net) -> dict[str, np.ndarray]:
    return {name: np.array(value.astype(mx.float32), dtype=np.float64) for name, value in trained(net).items()}


def run(spec: OptimizerSpec, steps: int) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]], list[float], Net]:
    """Weights before, the gradients and the learning rates of every step, and the net after them."""
    net = Net()
    before, optimizer, rng = values(net), MLXOptimizer(net, spec), np.random.default_rng(1)
    seen, rates = [], [0.05 / (1 + step) for step in range(steps)]
    for rate in rates:
        gradients = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in before.items()}
        seen.append(gradients)
        optimizer.add({name: mx.array(value) for name, value in gradients.items()})
        norm, clipped = optimizer.step(rate)
        expected = np.sqrt(sum((value**2).sum() for value in gradients.values()))
        assert norm == pytest.approx(expected, rel=1e-5)
        assert clipped == (spec.clip is not None and expected > spec.clip)
    return before, seen, rates, net


@pytest.mark.parametrize("clip", [None, 1.0])
def test_adamw(clip: float | None) -> None:
    spec = OptimizerSpec(betas=(0.8, 0.95), weight_decay=0.1, clip=clip)
    before, seen, rates, net = run(spec, 20)
    for name, weight in before.items():
        step = adamw(spec)
        for gradients, rate in zip(seen, rates, strict=True):
            norm = np.sqrt(sum((value**2).sum() for value in gradients.values()))
            weight = step(weight, gradients[name] * (min(1.0, clip / norm) if clip else 1.0), rate)
        np.testing.assert_allclose(values(net)[name], weight, rtol=1e-5, atol=1e-6)


def test_the_first_step_is_corrected_for_its_bias() -> None:
    """MLX's own Adam leaves the correction out by default: its first step would be ten times smaller or larger."""
    net, spec = Net(), OptimizerSpec(clip=None)
    before, optimizer = values(net), MLXOptimizer(net, spec)
    optimizer.add({name: mx.full(value.shape, 0.3) for name, value in before.items()})
    optimizer.step(1e-2)
    for name, value in values(net).items():
        np.testing.assert_allclose(before[name] - value, 1e-2, rtol=1e-3)


def test_muon_for_hidden_matrices_and_adamw_for_the_rest() -> None:
    spec = OptimizerSpec(use="muon", weight_decay=0.1, clip=None)
    before, seen, rates, net = run(spec, 20)
    for name, weight in before.items():
        step = muon(spec) if name in ("hidden.weight", "wide.weight") else adamw(spec)
        for gradients, rate in zip(seen, rates, strict=True):
            weight = step(weight, gradients[name].astype(np.float64), rate)
        np.testing.assert_allclose(values(net)[name], weight, atol=1e-4)


@pytest.mark.parametrize("use", ["adamw", "muon"])
def test_twenty_steps_are_those_of_torch(use: Literal["adamw", "muon"]) -> None:
    spec = OptimizerSpec(use=use, weight_decay=0.1, clip=None)
    before, seen, rates, net = run(spec, 20)
    for name in ("hidden.weight", "wide.weight", "hidden.bias"):
        parameter = torch.nn.Parameter(torch.tensor(before[name], dtype=torch.float32))
        if use == "muon" and parameter.ndim == 2:
            optimizer: Any = torch.optim.Muon(
                [parameter], lr=0.0, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
            )
        else:
            optimizer = torch.optim.AdamW([parameter], lr=0.0, weight_decay=0.1)
        for gradients, rate in zip(seen, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            parameter.grad = torch.tensor(gradients[name])
            optimizer.step()
        # PyTorch orthogonalises in bfloat16
        tolerance = 1e-2 if use == "muon" and parameter.ndim == 2 else 1e-5
        np.testing.assert_allclose(values(net)[name], parameter.detach().numpy(), atol=tolerance)


def test_small_steps_of_16_bit_weights_are_not_lost() -> None:
    spec = OptimizerSpec(eps=1e-12, clip=None, betas=(0.0, 0.0))
    # each step moves a weight by 1e-5, far below bfloat16's spacing; 200 of them must show
    net = Net(mx.bfloat16)
    optimizer, before = MLXOptimizer(net, spec), values(net)
    for _ in range(200):
        optimizer.add({name: mx.ones(value.shape, dtype=mx.bfloat16) for name, value in before.items()})
        optimizer.step(1e-5)
    moved = np.concatenate([(before[name] - value).ravel() for name, value in values(net).items()])
    assert moved.mean() == pytest.approx(2e-3, rel=0.2)
    assert trained(net)["hidden.weight"].dtype == mx.bfloat16


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    net = Net()
    optimizer, before = MLXOptimizer(net, OptimizerSpec()), values(net)
    optimizer.add({"hidden.bias": mx.full((6,), float("inf"))})
    with pytest.raises(BackendError):
        optimizer.step(0.1)
    assert all(np.array_equal(value, before[name]) for name, value in values(net).items())
    assert optimizer.step(0.1)[0] == 0.0
