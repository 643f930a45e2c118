"""The torch backend's tiny random students, loaded by the mlx backend."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mentor_kit_mlx.backend import MLXBackend
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.params import trained
from mentor_kit_mlx.policy import MLXPolicy
from mlx.utils import tree_flatten, tree_unflatten

from mentor_kit.backend.student import AdapterSpec, StudentSpec


def load(folder: Path, adapter: AdapterSpec | None = None, /, **options: Any) -> MLXPolicy:
    """A policy on the CPU in float32."""
    chosen = MLXOptions(**({"device": "cpu", "dtype": "float32"} | options))
    return MLXBackend(chosen).load(StudentSpec(model=str(folder), adapter=adapter), seed=0)


def weights(policy: MLXPolicy) -> dict[str, np.ndarray]:
    """All weights, by name."""
    return {name: np.array(value.astype(mx.float32)) for name, value in tree_flatten(policy.model.parameters())}


def nudge_adapter(policy: MLXPolicy, seed: int = 1, scale: float = 0.1) -> None:
    """An adapter that is not zero, as if it had been trained."""
    rng = np.random.default_rng(seed)
    changed = {
        name: value + mx.array(scale * rng.standard_normal(value.shape), dtype=value.dtype)
        for name, value in trained(policy.model).items()
    }
    policy.model.update(tree_unflatten(list(changed.items())))


def memory_taken(work: Callable[[], object]) -> int:
    """Bytes that a piece of work takes at most, beside what is held before it."""
    gc.collect()  # what other tests left, if it were freed during the work, would be taken off
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    work()
    return mx.get_peak_memory() - before
