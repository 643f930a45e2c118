"""The mlx backend's optimizers, held to the contract, and against PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch
from mentor_kit_mlx.optimizer import MLXOptimizer
from mentor_kit_mlx.params import trained
from mlx.utils import tree_unflatten

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.testing.optimizers import HIDDEN, SHAPES, MakeNet, OptimizerContract


class MLXNet(nn.Module):
    """A table of tokens and two linear layers."""

    def __init__(self, spec: OptimizerSpec, weights: Mapping[str, np.ndarray], dtype: str) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.hidden = nn.Linear(4, 6)
        self.wide = nn.Linear(6, 3, bias=False)
        kind = getattr(mx, dtype)
        self.update(tree_unflatten([(name, mx.array(value, dtype=kind)) for name, value in weights.items()]))
        self._optimizer = MLXOptimizer(self, spec)

    def add(self, gradients: Mapping[str, np.ndarray]) -> None:
        own = trained(self)
        self._optimizer.add({name: mx.array(value, dtype=own[name].dtype) for name, value in gradients.items()})

    def step(self, learning_rate: float) -> tuple[float, bool]:
        return self._optimizer.step(learning_rate)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: np.array(value.astype(mx.float32), dtype=np.float64) for name, value in trained(self).items()}


class TestMLXOptimizers(OptimizerContract):
    @pytest.fixture
    def make_net(self) -> MakeNet:
        return MLXNet


@pytest.mark.parametrize("use", ["adamw", "muon"])
def test_twenty_steps_are_those_of_torch(use: Literal["adamw", "muon"]) -> None:
    spec, rng = OptimizerSpec(use=use, weight_decay=0.1, clip=None), np.random.default_rng(0)
    before = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    net = MLXNet(spec, before, "float32")
    theirs: dict[str, Any] = {}
    for name in (*HIDDEN, "hidden.bias"):
        parameter = torch.nn.Parameter(torch.tensor(before[name], dtype=torch.float32))
        if use == "muon" and parameter.ndim == 2:
            theirs[name] = torch.optim.Muon(
                [parameter], lr=0.0, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
            )
        else:
            theirs[name] = torch.optim.AdamW([parameter], lr=0.0, weight_decay=0.1)
    for step in range(20):
        gradients = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
        net.add(gradients)
        net.step(0.05 / (1 + step))
        for name, optimizer in theirs.items():
            (group,) = optimizer.param_groups
            group["lr"], (parameter,) = 0.05 / (1 + step), group["params"]
            parameter.grad = torch.tensor(gradients[name], dtype=torch.float32)
            optimizer.step()
    for name, optimizer in theirs.items():
        ((parameter,),) = [group["params"] for group in optimizer.param_groups]
        # PyTorch orthogonalises in bfloat16
        tolerance = 1e-2 if use == "muon" and name in HIDDEN else 1e-5
        np.testing.assert_allclose(net.weights()[name], parameter.detach().numpy(), atol=tolerance)
