"""AdamW with mentor-kit's learning rates, for verl's processes: verl's own schedules have no linear one.

verl imports the class by `optim.optimizer_impl` and `optim.optimizer`, and passes `optim.override_optimizer_config`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mentor_kit.stages.schedule import OptimizerOptions, learning_rate


class ScheduledAdamW(torch.optim.AdamW):
    """AdamW whose learning rate follows a recipe's schedule, by the updates that it has made.

    Args:
        params: as for `torch.optim.AdamW`.
        lr: the highest rate.
        warmup, schedule, final: as in a recipe's `optimizer`.
        steps: the run's training steps.
        updates: the updates of a step; all of a step's have the same rate.
        options: further ones of `torch.optim.AdamW`.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        warmup: int,
        schedule: str,
        final: float,
        steps: int,
        updates: int,
        **options: Any,
    ) -> None:
        super().__init__(params, lr=lr, **options)
        fields = {"lr": lr, "warmup": warmup, "schedule": schedule, "final": final}
        self._options = OptimizerOptions.model_validate(fields)
        self._steps, self._updates = steps, updates

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update the parameters at the rate of the step that comes next."""
        step = min(self._done() // self._updates + 1, self._steps)
        rate = learning_rate(self._options, step, self._steps)
        for group in self.param_groups:
            group["lr"] = rate
        return super().step(closure)

    def _done(self) -> int:
        """The updates so far, by AdamW's own count, which checkpoints keep."""
        counts = (state["step"] for state in self.state.values() if "step" in state)
        return max((int(count) for count in counts), default=0)
