"""A policy whose turns are sampled by a `mentor_kit.backend.sampling_service.SamplingService`.

    optimizer_step, restore ──> the weights are unpublished ──> published before the next request is sampled

Everything else is the policy's own: updates, log-probabilities, checkpoints, exports.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from mentor_kit.backend.checkpoint import read_manifest
from mentor_kit.backend.engine_sampler import Watch
from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy, PolicyInfo, Weights
from mentor_kit.backend.sampling import Completion, Engine, Sampler, SampleRequest
from mentor_kit.backend.sampling_service import SamplingService
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics

logger = logging.getLogger("mentor_kit")


def serve(policy: Policy, service: SamplingService, student: StudentSpec, name: str) -> ServedPolicy:
    """Start a service for a policy; the two as one policy.

    Args:
        policy: was loaded from `student`.
        service: is started now, and closed by the caller.
        student: of the policy.
        name: of the service in the recipe, for the message on what it does not promise.

    Raises:
        MentorKitError: the service cannot start.
    """
    service.start(policy, student)
    for caveat in service.caveats:
        logger.warning(f"sampler {name}: {caveat}")
    return ServedPolicy(policy, service)


class ServedPolicy(Policy):
    """A policy with a service that samples for it; see the module.

    Args:
        own: updates its weights.
        service: was started for `own`.
    """

    def __init__(self, own: Policy, service: SamplingService) -> None:
        self.own, self.service = own, service
        self._version = 0
        self._changes, self._published = 0, -1
        """How often the weights changed, and after how many of these changes they were published last."""

    def ensure_published(self) -> None:
        """Publish the weights, unless that is done."""
        if self._published != self._changes:
            self.service.publish(self._version)
            self._published = self._changes

    def _changed(self, version: int) -> None:
        self._version = version
        self._changes += 1

    # what differs from the policy's own

    @property
    def info(self) -> PolicyInfo:
        info = self.own.info
        longest = self.service.context
        return info if longest is None else info.model_copy(update={"context": min(info.context, longest)})

    def sampler(self, *, deterministic: bool = True, watch: Watch = nullcontext) -> Sampler:
        """The service's sampler. There are no turn barriers, and nothing to watch, as this process samples nothing."""
        return _PublishingSampler(self, self.service.sampler())

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        metrics = self.own.optimizer_step(learning_rate)
        self._changed(metrics.version)
        return metrics

    def restore(self, folder: Path) -> None:
        self.own.restore(folder)
        self._changed(read_manifest(folder, self.own.info.backend).version)

    # what does not

    def prepare(self, optimizer: OptimizerSpec) -> None:
        self.own.prepare(optimizer)

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        return self.own.forward_backward(groups, objective)

    def log_probs(self, groups: Sequence[TokenGroup], *, weights: Weights = "current") -> list[list[Floats]]:
        return self.own.log_probs(groups, weights=weights)

    def snapshot_reference(self) -> None:
        self.own.snapshot_reference()

    def engine(self) -> Engine:
        """The policy's own engine, which samples without the service."""
        return self.own.engine()

    def save(self, folder: Path) -> None:
        self.own.save(folder)

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        self.own.export(folder, format=format)

    @property
    def whole_format(self) -> str | None:
        return self.own.whole_format

    def export_fault(self, format: str) -> str | None:
        return self.own.export_fault(format)

    def limits(self) -> MachineLimits | None:
        return self.own.limits()

    def work(self) -> dict[str, Work]:
        return self.own.work()

    def peak_memory(self) -> int | None:
        return self.own.peak_memory()


class _PublishingSampler(Sampler):
    """A service's sampler that has the weights published before each request that needs it."""

    def __init__(self, policy: ServedPolicy, sampler: Sampler) -> None:
        self._policy, self._sampler = policy, sampler

    def open(self, session: str) -> None:
        self._sampler.open(session)

    def close(self, session: str) -> None:
        self._sampler.close(session)

    async def sample(self, request: SampleRequest) -> Completion:
        self._policy.ensure_published()
        return await self._sampler.sample(request)

    def cancel(self, request_id: str) -> None:
        self._sampler.cancel(request_id)

    def drawn(self, request_id: str) -> tuple[int, ...]:
        return self._sampler.drawn(request_id)
