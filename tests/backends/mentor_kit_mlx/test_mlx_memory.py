"""The memory limit, held by the bytes that MLX reports: in sampling of several turns, updates and optimizer steps."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mentor_kit_mlx.memory import process_limit
from mlx_students import load
from torch_students import SHAPE, write_student
from transformers import LlamaConfig

from mentor_kit.backend.memory import GIB
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.testing.material import drive, request
from mentor_kit.testing.objectives import make_objective

WIDE = {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4, "vocab_size": 2048}
POSITIONS = 512


class Run:
    """Steps of a run that grow: turns of episodes, of which some end, then an update of all of them."""

    def __init__(self, policy: Any, seed: int = 0) -> None:
        self.policy, self.rng, self.kl = policy, np.random.default_rng(seed), 0.0

    def step(self, number: int, problems: int, group: int, turns: int, tokens: int) -> None:
        engine = self.policy.engine()
        prompts = [[int(x) for x in self.rng.integers(0, 2000, 100)] for _ in range(problems)]
        episodes = {f"{number}.{p}.{g}": list(prompt) for p, prompt in enumerate(prompts) for g in range(group)}
        live = list(episodes)
        for turn in range(turns):
            asked = [
                request(f"{name}.{turn}", episodes[name], session=name, max_new_tokens=3, seed=turn, temperature=1.0)
                for name in live
            ]
            done = drive(engine, asked)
            for name in live:
                result = [int(x) for x in self.rng.integers(0, 2000, tokens)]
                episodes[name] += [*done[f"{name}.{turn}"].ids, *result]
            for name in live[len(live) * 3 // 4 :]:
                engine.release(name)
            live = live[: len(live) * 3 // 4]
        for name in live:
            engine.release(name)
        self.policy.forward_backward(self.groups(prompts, episodes, group), make_objective(preset="grpo", kl=self.kl))
        self.policy.optimizer_step(1e-4)

    def groups(self, prompts: list[list[int]], episodes: dict[str, list[int]], group: int) -> list[TokenGroup]:
        found = []
        own = iter(episodes.values())
        for prompt in prompts:
            completions = []
            for _ in range(group):
                ids = np.array(next(own)[len(prompt) :])
                ones = np.ones(len(ids), np.float32)
                completions.append(TokenCompletion(ids, ones, 0 * ones, float(self.rng.normal())))
            found.append(TokenGroup(np.array(prompt), tuple(completions)))
        return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapter", "kl", "dtype", "memory"),
    [
        (None, 0.1, "bfloat16", 64),
        (AdapterSpec(rank=8), 0.0, "bfloat16", 48),
    ],
    ids=["full", "adapter"],
)
def test_the_limit_is_held(adapter: AdapterSpec | None, kl: float, dtype: str, memory: int, tmp_path: Path) -> None:
    """Four turns, growing batches, and a memory that holds neither all sequences nor a full micro-batch."""
    folder = write_student(tmp_path, LlamaConfig(**SHAPE | WIDE | {"max_position_embeddings": POSITIONS}))
    gc.collect()
    mx.clear_cache()
    before = mx.get_active_memory()
    policy = load(folder, adapter, dtype=dtype, memory=memory / 1024, token_budget=8192)
    policy.prepare(OptimizerSpec())
    run = Run(policy)
    if kl:
        policy.snapshot_reference()
        run.kl = kl
    mx.reset_peak_memory()
    peaks = []
    for number, problems in enumerate((1, 2)):
        run.step(number, problems, 8, 4, 40)
        peaks.append(round((mx.get_peak_memory() - before) / (1 << 20)))
    assert max(peaks) <= memory, peaks
    # and it is made use of
    assert max(peaks) > memory / 3, peaks
    assert (mx.get_active_memory() - before) < memory / 1024 * GIB


@pytest.mark.slow
def test_a_token_budget_is_found_from_the_limit_and_kept(tmp_path: Path) -> None:
    """More memory, more tokens; and a resumed run has those of the run that it resumes."""
    folder = write_student(tmp_path / "student", LlamaConfig(**(SHAPE | WIDE)))
    found = []
    for memory in (0.1, 0.12, 0.8):
        policy = load(folder, memory=memory, token_budget="auto")
        assert policy.token_budget == 8192
        policy.prepare(OptimizerSpec())
        found.append(policy.token_budget)
        policy.save(tmp_path / str(memory))
    assert 64 <= found[0] <= found[1] < found[2] <= 65536
    again = load(folder, memory=0.12, token_budget="auto")
    again.restore(tmp_path / "0.1")
    assert again.token_budget == found[0]


@pytest.mark.parametrize(
    ("limits", "recommended", "whole"),
    [
        ([5], 8, 5),
        ([12], 8, 12),  # one that is allowed more than is recommended
        ([5, 2], 8, 7),  # a student and its teacher
        ([8, 8], 8, 8),
        ([5, 4], None, 9),
    ],
)
def test_the_limit_of_a_process_is_that_of_all_its_policies(
    limits: list[int], recommended: int | None, whole: int
) -> None:
    assert process_limit(limits, recommended) == whole
