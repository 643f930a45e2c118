"""The mlx backend: loads policies, and estimates what they would need."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from mentor_kit.policy import MemoryEstimate, MemoryLoad, StudentSpec
from mentor_kit_mlx.adapters import add_adapter
from mentor_kit_mlx.config import find_folder, read_config
from mentor_kit_mlx.loading import load_model, pick_device
from mentor_kit_mlx.memory import estimate, limit
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.policy import MLXPolicy


@dataclass(frozen=True)
class MLXBackend:
    """A `mentor_kit.policy.Backend`."""

    options: MLXOptions

    def load(self, student: StudentSpec, seed: int) -> MLXPolicy:
        mx.set_default_device(pick_device(self.options.device))
        allowed = limit(self.options)
        if allowed is not None and mx.metal.is_available():
            mx.set_memory_limit(allowed)
            mx.set_wired_limit(min(allowed, limit(MLXOptions()) or allowed))
        loaded = load_model(student, self.options)
        adapter = None
        if student.adapter is not None:
            adapter = add_adapter(loaded.model, student.adapter, self.options.adapter, seed)
        mx.random.seed(seed)
        return MLXPolicy(loaded, adapter, student, self.options, allowed)

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        mx.set_default_device(pick_device(self.options.device))
        config = read_config(find_folder(student, weights=False))
        return estimate(config, student, load, self.options, limit(self.options))
