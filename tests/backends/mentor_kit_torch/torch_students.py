"""Tiny random students for the torch backend's tests, written to folders, and float64 twins of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy import TorchPolicy
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils import logging as transformers_logging

from mentor_kit.backend.student import AdapterSpec, StudentSpec

transformers_logging.disable_progress_bar()

VOCABULARY, CONTEXT = 100, 96

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    # large, so that distributions are far from uniform
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def write_student(folder: Path, config: Any = None, seed: int = 0) -> Path:
    """A model of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config or LlamaConfig(**SHAPE, tie_word_embeddings=True))
    model.save_pretrained(folder)
    return folder


def write_rounded_student(folder: Path, config: Any = None) -> Path:
    """A model of random weights that bfloat16 holds, so that a float64 twin has the same."""
    write_student(folder / "exact", config)
    load(folder / "exact", dtype="bfloat16").export(folder / "rounded")
    return folder / "rounded"


def load(folder: Path, adapter: AdapterSpec | None = None, **options: Any) -> TorchPolicy:
    """A policy on the CPU in float32."""
    chosen = TorchOptions(**({"device": "cpu", "dtype": "float32", "threads": 1} | options))
    return TorchBackend(chosen).load(StudentSpec(model=str(folder), adapter=adapter), seed=0)


class Float64Twin:
    """The student's logits by transformers alone, in float64 if it can be, a whole sequence at a time."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float64) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        with torch.no_grad():
            found = self.model(input_ids=torch.tensor([list(map(int, ids))]), use_cache=False).logits[0]
        return found.double().numpy()


def nudge_adapter(policy: TorchPolicy, seed: int = 1, scale: float = 0.1) -> None:
    """An adapter that is not zero, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
