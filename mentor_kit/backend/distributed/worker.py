"""The worker of one process: methods of a policy that the first process runs in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mentor_kit.backend.checkpoint import FoundLimits
from mentor_kit.backend.distributed.communicator import Communicator
from mentor_kit.backend.distributed.replica import Kept, Replica
from mentor_kit.backend.distributed.serialization import (
    groups_from_data,
    model_as_data,
    model_from_data,
    pack,
    request_from_data,
    unpack,
)
from mentor_kit.backend.distributed.shares import shares
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.objective import Objective, ObjectiveSpec

BuildObjective = Callable[[ObjectiveSpec], Objective]


class Worker:
    """A whole policy that computes its share of every update, of scoring and of sampling.

    Args:
        policy: this process's own.
        communicator: all processes.
        build_objective: builds the objective that a spec describes.
    """

    def __init__(
        self, policy: Replica[Any, Any], communicator: Communicator[Any], build_objective: BuildObjective
    ) -> None:
        self.policy = policy
        self.communicator = communicator
        self._build_objective = build_objective

    def run(self, method: str, arguments: Mapping[str, Json]) -> Json:
        """Run a method; this process's result."""
        with self.communicator.together():
            self.policy.arrange(whole=method == "sample")
        return getattr(self, f"_{method}")(**arguments)

    def _prepare(self, optimizer: Json) -> None:
        self._share_limits()
        self.policy.prepare(OptimizerSpec(**optimizer))

    def _forward_backward(self, groups: Json, objective: Json) -> Json:
        found = groups_from_data(groups)
        own = shares(found, self.communicator.size)[self.communicator.rank]
        terms = self.policy.accumulate(found, self._build_objective(ObjectiveSpec(**objective)), own)
        return [
            [float(t.loss), *({k: float(v) for k, v in part.items()} for part in (t.sums, t.maxima))] for t in terms
        ]

    def _share_limits(self) -> None:
        """Be held to what any process is held to by its device."""
        own = pack(model_as_data(self.policy.found_limits()))
        with self.communicator.together():
            limits = self.communicator.gather(own)
        self.policy.share_limits([model_from_data(FoundLimits, unpack(found)) for found in limits])

    def _clear(self) -> None:
        if self.policy.optimizer is not None:
            self.policy.optimizer.clear()

    def _optimizer_step(self, learning_rate: float) -> Json:
        self._share_limits()
        with self.communicator.together():
            self.policy.sum_gradients(self.communicator)
        done = self.policy.optimizer_step(learning_rate)
        return [done.gradient_norm, done.clipped]

    def _log_probs(self, groups: Json, weights: Literal["current", "reference"]) -> Json:
        found = groups_from_data(groups)
        own = shares(found, self.communicator.size)[self.communicator.rank]
        rows = self.policy.scores(found, weights, own)
        return [[group, index, values] for (group, index), values in rows.items()]

    def _snapshot_reference(self) -> None:
        self.policy.snapshot_reference()

    def _sample(self, events: Json, steps: int) -> Json:
        """Apply the events of this process's sessions, and advance by so many steps at most."""
        engine = self.policy.engine()
        for kind, owner, given in events:
            if owner != self.communicator.rank:
                continue
            if kind == "submit":
                engine.submit(request_from_data(given))
            elif kind == "cancel":
                engine.cancel(given)
            else:
                engine.release(given)
        found = []
        for _ in range(steps):
            if not engine.busy:
                break
            found += engine.step()
        return [[vars(completion) for completion in found], engine.busy]

    def _random(self) -> Json:
        return self.policy.random_state()

    def _collect(self, weights_only: bool) -> None:
        with self.communicator.together():
            self.policy.collect(weights_only=weights_only)

    def _restore(
        self, version: int, optimizer: Json, reference: Kept, random: Sequence[Json], found: Json = None
    ) -> None:
        """Receive the first process's weights, optimizer and reference; its files may be on its disk alone."""
        if not self.communicator.is_leader:
            self.policy.hold_to(model_from_data(FoundLimits, found))
        self._share_limits()
        with self.communicator.together():
            self.policy.copy_state(self.communicator, model_from_data(OptimizerSpec, optimizer), reference)
        if self.communicator.is_leader:
            self.policy.optimizer_changed()
        else:
            self.policy.restored(version)
            self.policy.set_random_state(random, self.communicator.rank)
