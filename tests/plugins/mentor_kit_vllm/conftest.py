"""A tiny student, servers that stand in for vLLM's, and the service that asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from mentor_kit_vllm.options import VLLMOptions
from mentor_kit_vllm.service import VLLMService
from stand_in import StandIn
from transformers import LlamaConfig, LlamaForCausalLM

from mentor_kit.backend.student import AdapterSpec, StudentSpec


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("student")
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        **shape,
        num_key_value_heads=2,
        vocab_size=61,
        max_position_embeddings=96,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=["full", "lora"])
def student(request: pytest.FixtureRequest, model: Path) -> StudentSpec:
    return StudentSpec(str(model), adapter=AdapterSpec(rank=4, alpha=8.0) if request.param == "lora" else None)


@pytest.fixture
def policy_factory(student: StudentSpec) -> Callable[[int | None], Any]:
    options = TorchOptions(device="cpu", dtype="float32")
    return lambda token_budget: TorchBackend(options).load(student, seed=0)


@pytest.fixture
def servers(model: Path) -> Iterator[list[StandIn]]:
    made = [StandIn(model), StandIn(model)]
    yield made
    for one in made:
        if not one.stopped:
            one.stop()


@pytest.fixture
def service_factory(servers: list[StandIn], tmp_path: Path) -> Callable[..., VLLMService]:
    def make(**options: Any) -> VLLMService:
        urls = tuple(one.url for one in servers)
        return VLLMService(VLLMOptions(**{"servers": urls, "patience": 20.0, **options}), tmp_path)

    return make
