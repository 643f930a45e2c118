"""Sampling of models with recurrent, convolutional and sharing layers beside mlx-lm's BatchGenerator, by context.

    python benchmarks/mlx_hybrids.py --contexts 64 256 1024 --rows 4 --tokens 32

A line for each kind of model and length of the prompts: milliseconds of a decoding step of all rows on both sides,
which take turns, the median of the ratios of two turns of the same round with the least and the greatest, and what a
step of ours takes beside what is held, at its peak. Greedy tokens must be equal before a ratio is printed. Models have
the layers of the published ones, few and narrow, with random weights. A ratio that grows with the context means that
something is computed again in every step. `--clock cpu` counts the processor's time, on a machine that is busy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch
import transformers
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.config import read_config
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mentor_kit_mlx.options import MLXOptions

from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.student import StudentSpec
from mentor_kit.utils.machine import cpu_name

VOCABULARY = 1000
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "initializer_range": 0.2,
    "tie_word_embeddings": True,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
HEADS = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32}
EYE = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 128}
LINEAR = HEADS | {"head_dim": 32, "layer_types": ["linear_attention"] * 3 + ["full_attention"]}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_expand": 2}
GEMMA = {
    "head_dim": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
    "sliding_window": 64,
    "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": VOCABULARY,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SHAPE),
    "lfm2": ("Lfm2Config", SHAPE | {"layer_types": ["conv"] * 3 + ["full_attention"]}),
    "qwen3.5": ("Qwen3_5Config", {"text_config": SHAPE | LINEAR, "vision_config": EYE, "tie_word_embeddings": True}),
    "granite4": (
        "GraniteMoeHybridConfig",
        SHAPE
        | MAMBA
        | {"layer_types": ["mamba"] * 3 + ["attention"], "shared_intermediate_size": 256, "num_local_experts": 0},
    ),
    "gemma4": ("Gemma4TextConfig", SHAPE | GEMMA | {"global_head_dim": 32}),
}
Prompts = Sequence[Sequence[int]]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Turn:
    """One turn of a side: its first token is drawn before the clock starts."""

    seconds: float
    """Of a decoding step."""
    tokens: list[list[int]]
    """Greedy ones, by row."""
    peak: int = 0
    """Bytes that a step takes beside what is held."""


def main() -> None:
    """The comparison, as lines."""
    options = _options()
    print(f"{cpu_name()}, {mx.default_device()}, mlx {version('mlx')}, mlx-lm {version('mlx-lm')}")
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as scratch:
            folder = write(kind, Path(scratch))
            for context in options.contexts:
                print(line(kind, folder, context, options))


def write(kind: str, folder: Path) -> Path:
    """A model of random weights."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    name, shape = KINDS[kind]
    auto = transformers.AutoModelForImageTextToText if "vision_config" in shape else transformers.AutoModelForCausalLM
    auto.from_config(getattr(transformers, name)(**shape)).save_pretrained(folder)
    return folder


def line(kind: str, folder: Path, context: int, options: argparse.Namespace) -> str:
    """The comparison of one model behind prompts of one length."""
    rng = np.random.default_rng(context)
    prompts = rng.integers(0, VOCABULARY, (options.rows, context)).tolist()
    engine = MLXBackend(MLXOptions(dtype="float32")).load(StudentSpec(str(folder)), seed=0).engine()
    model = mlx_lm("utils").load_model(folder, model_config=read_config(folder))[0]
    clock = CLOCKS[options.clock]
    turns = [
        (sample(engine, prompts, options.tokens, clock), sample_as_peer(model, prompts, options.tokens, clock))
        for _ in range(options.rounds)
    ]
    for ours, theirs in turns:
        assert ours.tokens == theirs.tokens, f"{kind}: tokens differ"
    ratios = [ours.seconds / theirs.seconds for ours, theirs in turns]
    ours, theirs = (1e3 * statistics.median(turn[side].seconds for turn in turns) for side in (0, 1))
    return (
        f"{kind}, {context} tokens: ours {ours:.2f} ms a step, BatchGenerator {theirs:.2f} ms, "
        f"{statistics.median(ratios):.2f} times its time ({min(ratios):.2f} to {max(ratios):.2f}); "
        f"a step takes {max(ours.peak for ours, _ in turns) / 2**20:.2f} MiB"
    )


def sample(engine: StepEngine, prompts: Prompts, count: int, clock: Clock) -> Turn:
    """Greedy tokens of our engine."""
    for row, prompt in enumerate(prompts):
        asked = SampleRequest(f"{row}", f"{row}", tuple(prompt), 0.0, count, frozenset(), 0)
        engine.submit(asked)
    engine.step()
    mx.reset_peak_memory()
    held = mx.get_active_memory()
    found: dict[str, list[int]] = {}
    started = clock()
    while engine.busy:
        found |= {done.id: list(done.ids) for done in engine.step()}
    seconds = (clock() - started) / (count - 1)
    peak = mx.get_peak_memory() - held
    for row in range(len(prompts)):
        engine.release(f"{row}")
    return Turn(seconds, [found[f"{row}"] for row in range(len(prompts))], peak)


def sample_as_peer(model: Any, prompts: Prompts, count: int, clock: Clock) -> Turn:
    """Greedy tokens of the peer, which nothing stops."""
    rows = len(prompts)
    generator = mlx_lm("generate").BatchGenerator(
        model, stop_tokens=[], max_tokens=count, completion_batch_size=rows, prefill_batch_size=rows
    )
    order = generator.insert(prompts, [count] * rows)
    found: dict[Any, list[int]] = {uid: [] for uid in order}
    started, before = 0.0, 0
    while any(len(tokens) < count for tokens in found.values()):
        given = generator.next()
        for response in given[1] if isinstance(given, tuple) else given:
            found[response.uid].append(response.token)
        if not started and all(found.values()):
            started, before = clock(), len(found[order[0]])
    seconds = (clock() - started) / (count - before)
    return Turn(seconds, [found[uid] for uid in order])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--contexts", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser.parse_args()


if __name__ == "__main__":
    main()
