"""What judges adapters: peft, transformers and mlx-lm, on one short text."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from mlx.utils import tree_flatten
from peft import LoraConfig, get_peft_model
from peft_oracles import IDS, of_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec, StudentSpec

KINDS = {
    "llama-tied": (LlamaConfig, True),
    "llama": (LlamaConfig, False),
    "qwen2-tied": (Qwen2Config, True),
    "qwen3-tied": (Qwen3Config, True),
}


def of_mlx(model: Any) -> np.ndarray:
    logits = model(mx.array(IDS[None]))[0, :-1]
    found = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return np.array(found)[np.arange(7), IDS[1:]]


def by_transformers(folder: Path) -> np.ndarray:
    return of_model(AutoModelForCausalLM.from_pretrained(folder))


def write_peft(base: Path, folder: Path, config: Any = LoraConfig, **options: Any) -> Path:
    """An adapter of random weights, made and written by peft."""
    values: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}
    if config is LoraConfig:
        values |= {"r": 4, "lora_alpha": 8, "init_lora_weights": False}
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        made = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base), config(task_type="CAUSAL_LM", **values | options)
        )
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn_like(parameter)
        made.save_pretrained(folder)
    return folder


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def estimated(base: Path, spec: AdapterSpec, **options: Any) -> int:
    needed = MemoryLoad(sequences=1, context=8, train_tokens=8, optimizer=OptimizerSpec())
    chosen = MLXOptions(device="cpu", dtype="float32", **options)
    return MLXBackend(chosen).estimate(StudentSpec(str(base), adapter=spec), needed).trainable


def mlx_flatten(tree: Any) -> dict[str, Any]:
    return dict(tree_flatten(tree))
