"""The policy of several processes that hold a part of its weights each (`mentor_kit_torch.sharding`).

It is saved and exported whole, in the same files as any other: what is trained is brought together in the first
process, on its CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.checkpoint import REFERENCE, WEIGHTS
from mentor_kit.backend.distributed.communicator import Communicator
from mentor_kit.backend.distributed.replica import Kept
from mentor_kit.backend.distributed.serialization import pack, unpack
from mentor_kit.backend.held_updates import one_completion_too_large
from mentor_kit.backend.microbatching import MicroBatch, Place, micro_batches
from mentor_kit.backend.optimizer import Optimizer, OptimizerSpec
from mentor_kit.backend.policy import Weights
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit.rl.objective import Objective
from mentor_kit_torch import params
from mentor_kit_torch.agreement import NOTHING_SMALLER, PassRefusedError
from mentor_kit_torch.optimizer import FILE
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.policy import TorchPolicy
from mentor_kit_torch.sharded_optimizer import ShardedOptimizer, state_arrays
from mentor_kit_torch.sharding import ModelShards, local, part_of

#: What a whole state consists of: names of parameters by what is kept of them.
WholeState = dict[str, dict[str, Tensor]]
Result = TypeVar("Result")


class ShardedPolicy(TorchPolicy):
    """A policy over a sharded model.

    Args:
        shards: the model.
        student: what it was loaded from.
        options: the backend's.
        reload: loads the policy whole, on the CPU, to be exported.

    Raises:
        BackendError: an option does not go together with sharding.
    """

    weights_stay = False

    def __init__(
        self, shards: ModelShards, student: StudentSpec, options: TorchOptions, reload: Callable[[], TorchPolicy]
    ) -> None:
        for option in ("compile", "cuda_graphs", "quantize"):
            if getattr(options, option) not in (None, False, "auto"):
                raise BackendError(
                    f"backend.shard and backend.{option} do not go together",
                    hint=f"leave `{option}` out: the weights' places in memory change with every update",
                )
        self._shards, self._reload = shards, reload
        self._state: WholeState = {}
        """In the first process, what it is about to save or export, or has read."""
        shards.gather()
        super().__init__(shards.model, student, options)
        shards.attach(self.lm)
        shards.split()

    def trained(self) -> dict[str, Tensor]:
        """The parts of them that are here, in the shape of the whole."""
        return {name: value.detach() for name, value in self._shards.trained.items()}

    def arrange(self, *, whole: bool) -> None:
        if whole:
            self._shards.gather()
        else:
            self._shards.split()

    # updates: every process takes part in the passes of all, as weights are gathered in them

    def scores(
        self, groups: Sequence[TokenGroup], weights: Weights, only: Collection[Place] | None = None
    ) -> dict[Place, Floats]:
        if weights == "reference" and self.reference is None:
            # before the processes wait for each other
            raise BackendError("there is no reference policy: call `snapshot_reference` first")
        return super().scores(groups, weights, only)

    def each_batch(
        self,
        groups: Sequence[TokenGroup],
        objective: Objective | None,
        only: Collection[Place] | None,
        run: Callable[[MicroBatch], Result],
        optimizer: Optimizer | None = None,
    ) -> Iterator[tuple[MicroBatch, Result]]:
        """As in the base class; where a process has no memory, all halve the token budget and begin the update anew."""
        held = optimizer.held_gradients() if isinstance(optimizer, ShardedOptimizer) else {}
        while True:
            try:
                with self._shards.communicator.together():
                    return iter(self._passes(groups, objective, only, run, with_gradients=optimizer is not None))
            except PassRefusedError as error:
                refused = error
            self._shards.leave_pass()
            if refused.halvings >= NOTHING_SMALLER:
                raise self._too_large(here=refused.here)
            if isinstance(optimizer, ShardedOptimizer):
                optimizer.put_held(held)
            self.halve(refused.halvings)

    def _passes(
        self,
        groups: Sequence[TokenGroup],
        objective: Objective | None,
        only: Collection[Place] | None,
        run: Callable[[MicroBatch], Result],
        *,
        with_gradients: bool,
    ) -> list[tuple[MicroBatch, Result]]:
        """This process's micro-batches that count, each run in step with those of the others."""
        found: list[tuple[MicroBatch, Result]] = []
        for batch, counts in self._batches(groups, objective, only):
            result = self._run_with_others(run, batch)
            self._count_traffic(with_gradients=with_gradients)
            if counts:
                found.append((batch, result))
        return found

    def _too_large(self, *, here: bool) -> BackendError:
        """The error where a process has no memory for one completion; all ask together who it is."""
        communicator = self._shards.communicator
        with communicator.together():
            refused = [unpack(message) for message in communicator.gather(pack(here))]
        error = one_completion_too_large(self.token_budget)
        if refused.index(True) == communicator.rank:
            return error
        return BackendError(f"process {refused.index(True)}: {error.message}", hint=error.hint)

    def _run_with_others(self, run: Callable[[MicroBatch], Result], batch: MicroBatch) -> Result:
        if not self._shards.recovers:
            return run(batch)
        halvings = self.halvings_below(batch) if len(batch.lengths) > 1 else NOTHING_SMALLER
        return self._shards.agreement.run(lambda: run(batch), halvings)

    def _batches(
        self, groups: Sequence[TokenGroup], objective: Objective | None, only: Collection[Place] | None
    ) -> Iterator[tuple[MicroBatch, bool]]:
        """This process's micro-batches, and whether they count: as many as the process with most of them has."""
        budget, packed = self.token_budget, self._packed
        own = list(micro_batches(groups, budget, objective, packed=packed, only=only))
        count = self._shards.communicator.largest(len(own))
        yield from ((batch, True) for batch in own)
        if len(own) < count:
            shown = own[-1] if own else next(iter(micro_batches(groups, budget, objective, packed=packed)))
            empty = replace(shown, weights=np.zeros_like(shown.weights))
            yield from ((empty, False) for _ in range(count - len(own)))

    def sum_gradients(self, communicator: Communicator[Tensor]) -> None:
        """They are summed in the backward pass."""

    @contextmanager
    def swapped(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        if not weights:
            with super().swapped(weights):
                yield
            return
        own = self._shards.trained
        kept = {name: local(own[name]).clone() for name in weights}
        try:
            self._put(weights)
            yield
        finally:
            self._put(kept)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the parts of parameters by others."""
        own = self._shards.trained
        for name, value in weights.items():
            local(own[name]).copy_(value)
        self._shards.split()

    def reference_weights(self) -> dict[str, Tensor]:
        return {name: local(value).clone() for name, value in super().reference_weights().items()}

    def make_optimizer(self, spec: OptimizerSpec) -> ShardedOptimizer:
        return ShardedOptimizer(self._shards.trained, spec)

    # the whole, in the first process

    def collect(self, *, weights_only: bool) -> None:
        own = self._shards.trained
        parts: WholeState = {WEIGHTS: {name: local(value) for name, value in own.items()}}
        if self.reference and not weights_only:
            parts[REFERENCE] = self.reference
        if isinstance(self.optimizer, ShardedOptimizer) and not weights_only:
            parts |= self.optimizer.parts()
        for kind, values in parts.items():
            for name, part in values.items():
                whole = part if part.ndim < own[name].ndim else self._shards.whole_of(part, own[name])
                if self._shards.communicator.is_leader:
                    self._state.setdefault(kind, {})[name] = whole.cpu().clone()

    def write_state(self, folder: Path) -> None:
        whole, self._state = self._state, {}
        for kind in (WEIGHTS, REFERENCE):
            if kind in whole:
                self.write_arrays(folder / kind, {name: self._narrowed(value) for name, value in whole[kind].items()})
        if isinstance(self.optimizer, ShardedOptimizer):
            masters = whole[WEIGHTS] if self._shards.widened else {}
            torch.save(self.optimizer.whole_state(whole, masters), folder / FILE)

    def load_state(
        self,
        weights: Mapping[str, Tensor],
        reference: Mapping[str, Tensor] | None,
        spec: OptimizerSpec | None,
        state: Any,
    ) -> None:
        """Keep them whole, until `copy_state` divides them among the processes."""
        names = list(self._shards.trained)
        self._state = {WEIGHTS: dict(weights)}
        if reference:
            self._state[REFERENCE] = dict(reference)
        if spec is not None:
            arrays = state_arrays(state, names)
            # exact, where the model had 16 bits
            self._state[WEIGHTS] |= arrays.pop("masters")
            self._state |= arrays

    def copy_state(self, communicator: Communicator[Tensor], spec: OptimizerSpec | None, reference: Kept) -> None:
        whole, self._state = self._state, {}
        own = self._shards.trained

        def received(kind: str, name: str, shape: torch.Size) -> Tensor:
            if communicator.is_leader:
                given = whole[kind].get(name)
                held = torch.zeros(shape) if given is None else given.float()
            else:
                held = torch.empty(shape)
            return communicator.broadcast({name: held})[name]

        def parts(kind: str) -> dict[str, Tensor]:
            return {
                name: part_of(received(kind, name, value.shape), value).to(local(value)) for name, value in own.items()
            }

        self._put(parts(WEIGHTS))
        self.reference = None if reference == "none" else {} if reference == "bare" else parts(REFERENCE)
        self.optimizer = None
        if spec is not None:
            optimizer = self.make_optimizer(spec)
            optimizer.load_parts(
                {kind: parts(kind) for kind in ShardedOptimizer.MOMENTS},
                {name: received("step", name, torch.Size()) for name in own},
            )
            self.optimizer = optimizer

    def write_export(self, folder: Path, format: str) -> None:
        whole, self._state = self._state, {}
        # loading draws random numbers, and what is drawn later must not depend on exports
        with torch.random.fork_rng(devices=[]):
            policy = self._reload()
        params.put(policy.model, {name: self._narrowed(value) for name, value in whole[WEIGHTS].items()})
        policy.write_export(folder, format)

    def _narrowed(self, value: Tensor) -> Tensor:
        return value.to(self._shards.dtype) if self._shards.widened else value

    def _count_traffic(self, *, with_gradients: bool) -> None:
        traffic, exchanged = self._shards.communicator.traffic, self._shards.exchanged
        traffic.gathered_bytes += exchanged.forward + (exchanged.backward if with_gradients else 0)
        traffic.scattered_bytes += exchanged.gradients if with_gradients else 0
