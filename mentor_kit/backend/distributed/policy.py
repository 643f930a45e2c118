"""The policy of several processes, as the recipe has it in the first one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mentor_kit.backend.base_policy import loss_metrics, scattered
from mentor_kit.backend.checkpoint import read_manifest
from mentor_kit.backend.distributed.engine import DistributedEngine
from mentor_kit.backend.distributed.leader import LedWorker
from mentor_kit.backend.distributed.replica import Replica
from mentor_kit.backend.distributed.serialization import groups_as_data, model_as_data
from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy, PolicyInfo, Weights
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics

#: The largest relative difference of the processes' gradient norms while their weights are equal.
NORM_TOLERANCE = 1e-3


class DistributedPolicy(Policy):
    """The first process's policy, whose work all processes share."""

    def __init__(self, led: LedWorker) -> None:
        self.led = led
        self.own: Replica[Any, Any] = led.worker.policy
        """This process's replica."""
        self._engine = DistributedEngine(led, self.own.engine().check)

    @property
    def info(self) -> PolicyInfo:
        return self.own.info

    @property
    def whole_format(self) -> str | None:
        return self.own.whole_format

    def export_fault(self, format: str) -> str | None:
        return self.own.export_fault(format)

    def prepare(self, optimizer: OptimizerSpec) -> None:
        self.led.run("prepare", optimizer=optimizer.model_dump())

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        self.own.prepared_optimizer()
        self.own.check(groups)
        try:
            answers = self.led.run(
                "forward_backward", groups=groups_as_data(groups), objective=objective.spec.model_dump(mode="json")
            )
        except Exception:
            if self.led.in_step:
                self.led.run("clear")
            raise
        return loss_metrics(groups, [LossTerms(*terms) for answer in answers for terms in answer], self.own.version)

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        self.own.prepared_optimizer()
        found = self.led.run("optimizer_step", learning_rate=learning_rate)
        norms = [norm for norm, _ in found]
        if max(norms) - min(norms) > NORM_TOLERANCE * max(norms):
            raise BackendError(
                f"the processes' weights differ: the norms of their gradients are {norms}",
                hint="resume from the last checkpoint; run the same versions of all packages everywhere",
            )
        norm, clipped = found[0]
        return StepMetrics(gradient_norm=norm, clipped=clipped, learning_rate=learning_rate, version=self.own.version)

    def log_probs(self, groups: Sequence[TokenGroup], *, weights: Weights = "current") -> list[list[Floats]]:
        self.own.check(groups)
        answers = self.led.run("log_probs", groups=groups_as_data(groups), weights=weights)
        return scattered(groups, {(group, index): row for answer in answers for group, index, row in answer})

    def snapshot_reference(self) -> None:
        self.led.run("snapshot_reference")

    def engine(self) -> DistributedEngine:
        return self._engine

    def limits(self) -> MachineLimits | None:
        return self.own.limits()

    def work(self) -> dict[str, Work]:
        """Of this process alone."""
        return self.own.work()

    def peak_memory(self) -> int | None:
        """Of this process's device."""
        return self.own.peak_memory()

    def save(self, folder: Path) -> None:
        self.led.run("collect", weights_only=False)
        self.own.write_checkpoint(folder, self.led.run("random"))

    def restore(self, folder: Path) -> None:
        self.own.restore(folder)
        manifest = read_manifest(folder, self.info.backend)
        self.led.run(
            "restore",
            version=manifest.version,
            optimizer=model_as_data(manifest.optimizer),
            reference=manifest.reference,
            random=list(manifest.random),
            found=model_as_data(manifest.found),
        )

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        self.led.run("collect", weights_only=True)
        self.own.export(folder, format=format)
