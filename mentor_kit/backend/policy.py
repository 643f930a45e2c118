"""The contract of a backend: policies that learn, and samplers that speak. Tokens in, tokens out.

    Backend ──load──> Policy ──sampler──> Sampler       (asynchronous; a server is one as it is)
                        │                    ▲
                        └──────────> Engine ─┘          (step-driven; `mentor_kit.rollout` adapts it)

Nothing here knows of text, tools or rewards. `mentor_kit.testing` holds every backend to these meanings.

Randomness is counter-based: the token at position t of a request with seed s is the inverse CDF of the
scaled, filtered distribution at `randomness.uniforms(s, t)`; so a request gives the same tokens whatever else is in
the batch, up to floating-point ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from mentor_kit.backend.memory import MemoryEstimate, MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.sampling import Engine
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics


class PolicyInfo(FrozenModel):
    """Facts about a loaded policy, for logs and dry runs."""

    model: str
    parameters: int
    trainable: int
    vocabulary: int
    context: int
    """The longest context in tokens."""
    device: str
    dtype: str
    backend: str


class Policy(Protocol):
    """A student that learns."""

    @property
    def info(self) -> PolicyInfo:
        """Facts about the loaded model."""
        ...

    def prepare(self, optimizer: OptimizerSpec) -> None:
        """Make a fresh optimizer, forgetting an earlier one; at a stage's start."""
        ...

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        """Add the gradient of the objective over all the groups, normalised over all of them.

        Raises:
            BackendError: no optimizer was prepared, a loss is not finite, or a sequence exceeds the context.
        """
        ...

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        """Update the weights with the accumulated gradient, and clear it. The version goes up by one."""
        ...

    def log_probs(
        self, groups: Sequence[TokenGroup], *, weights: Literal["current", "reference"] = "current"
    ) -> list[list[Floats]]:
        """Log-probabilities of every completion's tokens at its group's temperature, shape (n,) each.

        One list a group, one array a completion; 0.0 where the mask is 0.
        """
        ...

    def snapshot_reference(self) -> None:
        """Make the current weights the reference policy (with an adapter: the model without it, no copy)."""
        ...

    def engine(self) -> Engine:
        """The policy's engine: one, always with the current weights; an update drops every cached key and value."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights or adapter, optimizer, reference and version, so that `restore` is exact to the bit."""
        ...

    def restore(self, folder: Path) -> None:
        """Bring back what `save` wrote.

        Raises:
            DataError: the folder is not a checkpoint of this student.
        """
        ...

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        """Write the student for others: `transformers` (a whole model; an adapter is merged) or `adapter`.

        Raises:
            UsageError: the backend does not write this format.
        """
        ...


class Backend(Protocol):
    """Loads policies. Built by a backends plugin."""

    def load(self, student: StudentSpec, seed: int) -> Policy:
        """A policy from a folder or hub id; `seed` is for a new adapter's weights.

        Raises:
            MissingError: the folder, the hub or a package cannot be reached.
            BackendError: the folder holds no model this backend can run.
        """
        ...

    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        """Memory a run would need, without loading weights; for `run --dry-run`."""
        ...


@runtime_checkable
class Serving(Protocol):
    """A backend that can run a recipe in several processes, of which the first one leads; optional."""

    def serve(self) -> bool:
        """Do what the leading process says until it ends; False, at once, where this is that one, or alone."""
        ...
