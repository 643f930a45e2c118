"""A process's own policy, whose gradients and state are exchanged with those of the others.

Each of several processes holds the whole model; a backend that shards it over them overrides what differs then.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, Literal

from mentor_kit.backend.base_policy import Array, BasePolicy, OptimizerT
from mentor_kit.backend.distributed.communicator import Communicator
from mentor_kit.backend.distributed.serialization import pack, unpack
from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.optimizer import OptimizerSpec

Kept = Literal["none", "weights", "bare"]
"""Which reference there is; as `Manifest.reference`."""


class Replica(BasePolicy[Array, OptimizerT]):
    """A policy in each of several processes, or in one alone."""

    @abstractmethod
    def engine(self) -> StepEngine: ...

    @abstractmethod
    def gradient_names(self) -> list[str]:
        """The trained parameters whose gradients the optimizer holds."""

    @abstractmethod
    def gradients(self, names: Collection[str]) -> dict[str, Array]:
        """The gradients that the optimizer holds of these parameters; zeros where it holds none."""

    @abstractmethod
    def put_gradients(self, gradients: Mapping[str, Array]) -> None:
        """Replace the gradients that the optimizer holds."""

    @abstractmethod
    def optimizer_arrays(self, optimizer: OptimizerT) -> dict[str, Array]:
        """An optimizer's state, in the same names, shapes and types for every one of its spec over these parameters."""

    def load_arrays(
        self,
        weights: Mapping[str, Array],
        reference: Mapping[str, Array] | None,
        spec: OptimizerSpec | None,
        state: Mapping[str, Array],
    ) -> None:
        """Replace the trained parameters, the reference and the optimizer by those of another process.

        Args:
            weights: of the same names, shapes and types.
            reference: as `BasePolicy.reference`.
            spec: of the optimizer; None where there is none.
            state: its `optimizer_arrays` there; empty where there is none.
        """
        self.load_state(weights, reference, spec, state or None)

    # what a sharded policy does otherwise; all processes call these together

    def arrange(self, *, whole: bool) -> None:
        """Prepare for the next method: with whole weights for sampling, or else."""
        return None

    def sum_gradients(self, communicator: Communicator[Array]) -> None:
        """Give every process the sum of all gradients; parameters that no process has a gradient of keep none."""
        held = communicator.gather(pack(self.gradient_names()))
        names = sorted({name for message in held for name in unpack(message)})
        if names:
            self.put_gradients(communicator.all_sum(self.gradients(names)))

    def collect(self, *, weights_only: bool) -> None:
        """Bring together, in the first process, what it is about to save; only the weights, where it exports them."""
        return None

    def copy_state(self, communicator: Communicator[Array], spec: OptimizerSpec | None, reference: Kept) -> None:
        """Copy the first process's weights, reference and optimizer, which it has restored, to all.

        Args:
            communicator: all processes.
            spec: of the optimizer; None where there is none.
            reference: which one there is.
        """
        weights = communicator.broadcast(self.trained())
        kept: Mapping[str, Any] | None = None if reference == "none" else {}
        if reference == "weights":
            kept = communicator.broadcast((self.reference if communicator.is_leader else None) or self.trained())
        own = None
        if spec is not None:
            own = self.prepared_optimizer() if communicator.is_leader else self.make_optimizer(spec)
        state = {} if own is None else communicator.broadcast(self.optimizer_arrays(own))
        if not communicator.is_leader:
            self.load_arrays(weights, kept, spec, state)
