"""A process's own policy, one of several with the same weights, whose gradients and state can be exchanged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping

from mentor_kit.backend.base_policy import Array, BasePolicy, OptimizerT
from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.optimizer import OptimizerSpec


class Replica(BasePolicy[Array, OptimizerT]):
    """A policy that holds the whole model, in each of several processes or in one alone."""

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
