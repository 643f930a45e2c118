"""The workload that all sides sample and train on."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Problems of one length, sampled and trained on in groups."""

    prompt: int
    """Tokens all prompts begin with; each has `own` more."""
    own: int
    completion: int
    problems: int
    group: int

    def prompts(self, vocabulary: int) -> list[list[int]]:
        """A prompt for every sequence, those of a group next to each other."""
        return [problem for problem in self._problems(vocabulary, self.problems) for _ in range(self.group)]

    def prompts_apart(self, vocabulary: int) -> list[list[int]]:
        """A prompt of its own for every sequence: no two are equal, as ours would run these as one."""
        return self._problems(vocabulary, self.problems * self.group)

    def _problems(self, vocabulary: int, count: int) -> list[list[int]]:
        rng = np.random.default_rng(0)
        common = rng.integers(2, vocabulary, self.prompt).tolist()
        return [common + rng.integers(2, vocabulary, self.own).tolist() for _ in range(count)]

    def completions(self, vocabulary: int) -> tuple[list[list[int]], list[float]]:
        """Tokens and an advantage for every sequence."""
        count = self.problems * self.group
        rng = np.random.default_rng(1)
        tokens = rng.integers(2, vocabulary, (count, self.completion)).tolist()
        return tokens, rng.normal(size=count).tolist()


def add_options(parser: argparse.ArgumentParser, *, problems: int = 1) -> None:
    """Options of a command line for a shape, and for the layers of a model of random weights."""
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--own", type=int, default=16)
    parser.add_argument("--completion", type=int, default=64)
    parser.add_argument("--problems", type=int, default=problems)
    parser.add_argument("--group", type=int, default=8)


def shape_of(options: argparse.Namespace) -> Shape:
    """The shape of a command line's options."""
    return Shape(options.prompt, options.own, options.completion, options.problems, options.group)


def write_model(folder: Path, layers: int, **changes: Any) -> Path:
    """SmolLM2-135M's shape with random weights, cut to so many layers; `changes` are other values of its config."""
    return write_random(folder, smollm2_135m(num_hidden_layers=layers, **changes))


def smollm2_135m(**changes: Any) -> Any:
    """The configuration of SmolLM2-135M, without special tokens; `changes` are other values."""
    from transformers import LlamaConfig

    shape: dict[str, Any] = {
        **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
        **{"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192},
        **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "initializer_range": 0.05},
    }
    return LlamaConfig(**(shape | changes), tie_word_embeddings=True)


def qwen3_1_7b(**changes: Any) -> Any:
    """The configuration of Qwen3-1.7B, without special tokens; `changes` are other values."""
    from transformers import Qwen3Config

    shape: dict[str, Any] = {
        **{"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28},
        **{"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960},
        **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": None},
    }
    return Qwen3Config(**(shape | changes), tie_word_embeddings=True)


def write_random(folder: Path, config: Any, device: str = "cpu", dtype: str = "float32") -> Path:
    """A model of random weights, drawn on a device."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()  # other processes measure with what is free
    return folder
