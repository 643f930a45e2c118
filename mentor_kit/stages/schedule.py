"""Learning rates: the options of an optimizer with its schedule, and the rate of each step."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from mentor_kit.backend.optimizer import OptimizerSpec


class OptimizerOptions(OptimizerSpec):
    """An optimizer with its schedule."""

    lr: float = Field(gt=0)
    """The highest learning rate."""
    warmup: int = Field(default=0, ge=0)
    """Steps over which the rate rises from lr / warmup to lr."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate falls after the warm-up."""
    final: float = Field(default=0.1, ge=0, le=1)
    """The rate after the last step, as a share of lr."""

    @property
    def spec(self) -> OptimizerSpec:
        """The optimizer without its schedule, as a policy takes it."""
        return OptimizerSpec.model_validate(self.model_dump(include=set(OptimizerSpec.model_fields)))


def learning_rate(options: OptimizerOptions, step: int, steps: int) -> float:
    """The learning rate of step 1 <= step <= steps."""
    if step <= options.warmup:
        return options.lr * step / options.warmup
    if options.schedule == "constant":
        return options.lr
    # the first step after the warm-up still has the whole rate; `final` would be that of a step after the last
    progress = (step - 1 - options.warmup) / (steps - options.warmup)
    fall = progress if options.schedule == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return options.lr * (1 - (1 - options.final) * fall)
