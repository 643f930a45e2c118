"""The worker of one process: methods of a policy that the first process runs in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from mentor_kit.backend.microbatching import Place
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.objectives import build_objective
from mentor_kit.rl.objective import ObjectiveSpec
from mentor_kit_mlx.launch import ProcessGroup
from mentor_kit_mlx.policy import MLXPolicy
from mentor_kit_mlx.random_state import seed_of
from mentor_kit_mlx.serialization import groups_from_data, request_from_data


class Worker:
    """A whole policy that computes its share of every update, of scoring and of sampling.

    Args:
        policy: this process's own.
        group: all processes.
    """

    def __init__(self, policy: MLXPolicy, group: ProcessGroup) -> None:
        self.policy = policy
        self._group = group
        self._pending = False
        """Whether any process has gradients that no step has used."""

    def run(self, method: str, arguments: Mapping[str, Json]) -> Json:
        """Run a method; this process's result."""
        return getattr(self, f"_{method}")(**arguments)

    def _prepare(self, optimizer: Json) -> None:
        self.policy.prepare(OptimizerSpec(**optimizer))
        self._pending = False

    def _forward_backward(self, groups: Json, objective: Json) -> Json:
        found = groups_from_data(groups)
        own = shares(found, self._group.size)[self._group.rank]
        self._pending = self._pending or any(c.mask.any() for group in found for c in group.completions)
        terms = self.policy.accumulate(found, build_objective(ObjectiveSpec(**objective)), own)
        return [
            [float(t.loss), *({k: float(v) for k, v in part.items()} for part in (t.sums, t.maxima))] for t in terms
        ]

    def _clear(self) -> None:
        self._pending = False
        if self.policy.optimizer is not None:
            self.policy.optimizer.clear()

    def _optimizer_step(self, learning_rate: float) -> Json:
        optimizer = self.policy.optimizer
        assert optimizer is not None  # the first process has checked it
        if self._pending:
            optimizer.gradients = self._group.all_sum(optimizer.gradients_or_zeros())
        self._pending = False
        done = self.policy.optimizer_step(learning_rate)
        return [done.gradient_norm, done.clipped]

    def _log_probs(self, groups: Json, weights: Literal["current", "reference"]) -> Json:
        found = groups_from_data(groups)
        own = shares(found, self._group.size)[self._group.rank]
        rows = self.policy.scores(found, weights, own)
        return [[group, index, values] for (group, index), values in rows.items()]

    def _snapshot_reference(self) -> None:
        self.policy.snapshot_reference()

    def _sample(self, events: Json, steps: int) -> Json:
        """Apply the events of this process's sessions, and advance by so many steps at most."""
        engine = self.policy.engine()
        for kind, owner, given in events:
            if owner != self._group.rank:
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

    def _restore(self, version: int, optimizer: Json, reference: bool, random: Sequence[int]) -> None:
        """Receive the first process's weights, optimizer and reference; its files may be on its disk alone."""
        policy, broadcast, is_leader = self.policy, self._group.broadcast, self._group.is_leader
        spec = None if optimizer is None else OptimizerSpec(**optimizer)
        weights = broadcast(policy.trained())
        kept = broadcast((policy.reference if is_leader else None) or policy.trained()) if reference else None
        own = None
        if spec is not None:
            own = policy.prepared_optimizer() if is_leader else policy.make_optimizer(spec)
        state = None if own is None else broadcast(own.state())
        self._pending = False
        if not is_leader:
            policy.load_state(weights, kept, spec, state)
            policy.restored(version)
            mx.random.seed(seed_of(random, self._group.rank))


def shares(groups: Sequence[TokenGroup], size: int) -> list[set[Place]]:
    """The completions of every process, with about the same number of tokens; whole groups, if there are enough.

    Every process with a completion of a prompt runs the prompt, so groups are split only where there are fewer of them
    than processes.
    """
    whole = [[(g, c) for c in range(len(group.completions))] for g, group in enumerate(groups)]
    units = whole if len(groups) >= size else [[place] for places in whole for place in places]
    costs = [len(groups[places[0][0]].prompt_ids) + _tokens(groups, places) if places else 0 for places in units]
    found: list[set[Place]] = [set() for _ in range(size)]
    loads = [0] * size
    for index in np.argsort([-cost for cost in costs], kind="stable"):
        least = loads.index(min(loads))
        found[least] |= set(units[index])
        loads[least] += costs[index]
    return found


def _tokens(groups: Sequence[TokenGroup], places: Sequence[Place]) -> int:
    """Tokens to run; those of equal completions of a group count once."""
    lengths = {(g, groups[g].completions[c].ids.tobytes()): len(groups[g].completions[c].ids) for g, c in places}
    return sum(lengths.values())


def failure(error: BackendError | Any) -> Json:
    """An error as data, for the first process."""
    return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
