"""The torch backend's optimizers, held to the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from mentor_kit_torch.optimizer import TorchOptimizer
from torch import nn

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.testing.optimizers import MakeNet, OptimizerContract


class TorchNet(nn.Module):
    """A table of tokens and two linear layers."""

    def __init__(self, spec: OptimizerSpec, weights: Mapping[str, np.ndarray], dtype: str) -> None:
        super().__init__()
        kind = getattr(torch, dtype)
        self.table = nn.Embedding(5, 4, dtype=kind)
        self.hidden = nn.Linear(4, 6, dtype=kind)
        self.wide = nn.Linear(6, 3, bias=False, dtype=kind)
        self.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        self.optimizer = TorchOptimizer(self, spec)

    def get_input_embeddings(self) -> Any:
        return self.table

    def get_output_embeddings(self) -> Any:
        return None

    def add(self, gradients: Mapping[str, np.ndarray]) -> None:
        parameters = dict(self.named_parameters())
        rows = [(parameters[name], torch.tensor(value)) for name, value in gradients.items()]
        sum((parameter * value.to(parameter.dtype)).sum() for parameter, value in rows).backward()

    def step(self, learning_rate: float) -> tuple[float, bool]:
        return self.optimizer.step(learning_rate)

    def weights(self) -> dict[str, np.ndarray]:
        return {name: value.detach().double().numpy().copy() for name, value in self.named_parameters()}


class TestTorchOptimizers(OptimizerContract):
    @pytest.fixture
    def make_net(self) -> MakeNet:
        return TorchNet
