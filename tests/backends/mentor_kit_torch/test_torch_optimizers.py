"""Optimizers against NumPy twins written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch.optimizer import TorchOptimizer
from torch import nn

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import BackendError

Step = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


class Net(nn.Module):
    """One table of tokens, one hidden matrix, one vector."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(5, 4, dtype=dtype)
        self.hidden = nn.Linear(4, 6, dtype=dtype)

    def get_input_embeddings(self) -> Any:
        return self.table

    def get_output_embeddings(self) -> Any:
        return None


def run(spec: OptimizerSpec, rates: list[float], dtype: torch.dtype = torch.float32) -> tuple[dict, list[dict], dict]:
    """Weights before, the gradients of every step, weights after."""
    net = Net(dtype)
    before = {n: p.detach().double().numpy().copy() for n, p in net.named_parameters()}
    optimizer = TorchOptimizer(net, spec)
    rng = np.random.default_rng(0)
    seen = []
    for rate in rates:
        gradients = {n: rng.normal(size=tuple(p.shape)) for n, p in net.named_parameters()}
        seen.append(gradients)
        total = sum((p.double() * torch.tensor(gradients[n])).sum() for n, p in net.named_parameters())
        total.backward()
        norm, clipped = optimizer.step(rate)
        expected = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        assert norm == pytest.approx(expected, rel=1e-2 if dtype != torch.float32 else 1e-5)
        assert clipped == (spec.clip is not None and expected > spec.clip)
    return before, seen, {n: p.detach().double().numpy() for n, p in net.named_parameters()}


def adamw(spec: OptimizerSpec) -> Step:
    """Loshchilov and Hutter (arXiv 1711.05101), algorithm 2."""
    first = second = 0.0
    count = 0

    def step(weights: np.ndarray, gradient: np.ndarray, rate: float) -> np.ndarray:
        nonlocal first, second, count
        count += 1
        first = spec.betas[0] * first + (1 - spec.betas[0]) * gradient
        second = spec.betas[1] * second + (1 - spec.betas[1]) * gradient**2
        mean, square = first / (1 - spec.betas[0] ** count), second / (1 - spec.betas[1] ** count)
        return weights - rate * (mean / (np.sqrt(square) + spec.eps) + spec.weight_decay * weights)

    return step


def muon(spec: OptimizerSpec) -> Step:
    """Jordan's Muon with Nesterov momentum, scaled as in arXiv 2502.16982, equation 4."""
    momentum: Any = 0.0

    def step(weights: np.ndarray, gradient: np.ndarray, rate: float) -> np.ndarray:
        nonlocal momentum
        momentum = spec.momentum * momentum + (1 - spec.momentum) * gradient
        update = (1 - spec.momentum) * gradient + spec.momentum * momentum
        tall = update.shape[0] > update.shape[1]
        x = update.T if tall else update
        x = x / np.linalg.norm(x)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        scale = 0.2 * np.sqrt(max(weights.shape))
        return weights * (1 - rate * spec.weight_decay) - rate * scale * (x.T if tall else x)

    return step


@pytest.mark.parametrize("clip", [None, 1.0])
def test_adamw(clip: float | None) -> None:
    spec = OptimizerSpec(betas=(0.8, 0.95), weight_decay=0.1, clip=clip)
    rates = [0.1, 0.05, 0.2, 0.01]
    before, seen, after = run(spec, rates)
    for name, weights in before.items():
        step = adamw(spec)
        for gradients, rate in zip(seen, rates, strict=True):
            norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
            weights = step(weights, gradients[name] * (min(1.0, clip / norm) if clip else 1.0), rate)
        np.testing.assert_allclose(after[name], weights, rtol=1e-5, atol=1e-6)


def test_muon_for_hidden_matrices_and_adamw_for_the_rest() -> None:
    spec = OptimizerSpec(use="muon", weight_decay=0.1, clip=None)
    rates = [0.1, 0.05, 0.2]
    before, seen, after = run(spec, rates)
    for name, weights in before.items():
        step = muon(spec) if name == "hidden.weight" else adamw(spec)
        for gradients, rate in zip(seen, rates, strict=True):
            weights = step(weights, gradients[name], rate)
        # PyTorch orthogonalises in bfloat16
        tolerance = 2e-2 if name == "hidden.weight" else 1e-5
        np.testing.assert_allclose(after[name], weights, atol=tolerance)
        assert np.abs(after[name] - before[name]).max() > 5 * tolerance


def test_small_steps_of_16_bit_weights_are_not_lost() -> None:
    spec = OptimizerSpec(eps=1e-12, clip=None, betas=(0.0, 0.0))
    # each step moves a weight by 1e-5, far below bfloat16's spacing; 200 of them must show
    net = Net(torch.bfloat16)
    optimizer = TorchOptimizer(net, spec)
    before = net.hidden.weight.detach().float().clone()
    for _ in range(200):
        for parameter in net.parameters():
            parameter.sum().backward()
        optimizer.step(1e-5)
    moved = before - net.hidden.weight.detach().float()
    torch.testing.assert_close(moved, torch.full_like(moved, 2e-3), atol=1.1e-3, rtol=0.0)
    assert moved.mean() == pytest.approx(2e-3, rel=0.2)


def test_gradients_of_many_micro_batches_add_up_in_float32() -> None:
    net = Net(torch.bfloat16)
    optimizer = TorchOptimizer(net, OptimizerSpec(clip=None))
    for _ in range(1000):
        (net.hidden.bias.sum() * 1.0).backward()
    # bfloat16 alone would be stuck at 256
    assert optimizer.step(0.0)[0] == pytest.approx(1000 * 6**0.5)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    net = Net()
    optimizer = TorchOptimizer(net, OptimizerSpec())
    before = net.hidden.weight.detach().clone()
    (net.hidden.weight.sum() * float("inf")).backward()
    with pytest.raises(BackendError):
        optimizer.step(0.1)
    assert torch.equal(net.hidden.weight, before)
    assert optimizer.step(0.1)[0] == 0.0
