"""The contract of a backend: policies that sample and learn. Tokens in, tokens out.

    Backend ──load──> Policy ──sampler──> Sampler       (asynchronous; a server is one as it is)
                        │                    ▲
                        └──────────> Engine ─┘          (step-driven; `EngineSampler` adapts it)

Nothing here knows strings, tools or rewards. Both are base classes: what is abstract every backend has, what is not has
a default and may be left out. `mentor_kit.backend.base_policy` has a policy's checks and bookkeeping ready, and
`mentor_kit.testing` tests every backend against these meanings.

Randomness is counter-based: the token at position t of a request with seed s is the inverse CDF of the scaled, filtered
distribution at `randomness.uniforms(s, t)`. A request therefore gives the same tokens whatever else is in the batch, up
to floating-point ties.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from mentor_kit.backend.engine_sampler import EngineSampler, Watch
from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.backend.memory import DeviceMemory, MemoryEstimate, MemoryLoad, Saving
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.sampling import Engine, Sampler
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.core.frozen_model import FrozenModel
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics

Weights = Literal["current", "reference"]
"""Whose log-probabilities: the policy's as it is, or the reference policy's."""


class PolicyInfo(FrozenModel):
    """Facts about a loaded policy, for logs and dry runs."""

    model: str
    """A folder or hub id."""
    parameters: int
    trainable: int
    """How many of the parameters are trained."""
    vocabulary: int
    """Logits at a position."""
    context: int
    """The longest context in tokens."""
    device: str
    dtype: str
    backend: str


class Policy(ABC):
    """A student that samples and learns."""

    @property
    @abstractmethod
    def info(self) -> PolicyInfo:
        """Facts about the loaded model."""

    @abstractmethod
    def prepare(self, optimizer: OptimizerSpec) -> None:
        """Make a fresh optimizer and drop an earlier one, with its gradients; at a stage's start."""

    @abstractmethod
    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        """Add the gradient of the objective over all the groups, normalised over all of them.

        Raises:
            BackendError: no optimizer was prepared, a loss is not finite, or a sequence exceeds the context. No
                gradient is kept then, earlier ones included.
        """

    @abstractmethod
    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        """Update the weights with the accumulated gradient, and clear it. The version goes up by one.

        Raises:
            BackendError: no optimizer was prepared, or the gradient is not finite; the weights stay.
        """

    @abstractmethod
    def log_probs(self, groups: Sequence[TokenGroup], *, weights: Weights = "current") -> list[list[Floats]]:
        """Log-probabilities of every completion's tokens at its group's temperature, shape (n,) each.

        One list a group, one array a completion; 0.0 where the mask is 0.

        Raises:
            BackendError: a sequence exceeds the context, or there is no reference policy.
        """

    @abstractmethod
    def snapshot_reference(self) -> None:
        """Make the current weights the reference policy."""

    @abstractmethod
    def engine(self) -> Engine:
        """The policy's engine: one, always with the current weights; an update drops every cached key and value."""

    def sampler(self, *, deterministic: bool = True, watch: Watch = nullcontext) -> Sampler:
        """A sampler of the current weights, for the episodes of one rollout.

        Args:
            deterministic: whether its batches, and with them every number, are the same in every run.
            watch: entered around all sampling that this process does, for meters.
        """
        return EngineSampler(self.engine(), deterministic=deterministic, watch=watch)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights or adapter, optimizer, reference and version, so that `restore` is exact to the bit."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Restore what `save` wrote; nothing is changed where that fails.

        Raises:
            DataError: the folder is not a checkpoint of this student.
        """

    @abstractmethod
    def export(self, folder: Path, *, format: str = "transformers") -> None:
        """Write the student for other programs, in one of `Backend.export_formats`.

        Raises:
            UsageError: the backend does not write this format, or not of this student.
        """

    @property
    def whole_format(self) -> str | None:
        """The format to write this student whole in, where it cannot be the first of `Backend.export_formats`.

        None, the default, stands for that one. A policy that has another says so when it is loaded.
        """
        return None

    def export_fault(self, format: str) -> str | None:
        """Why this student cannot be written in one of `Backend.export_formats`; None, the default, where it can."""
        return None

    def limits(self) -> MachineLimits | None:
        """What the device does at best, measured now in about a second; None where that is not measured."""
        return None

    def work(self) -> dict[str, Work]:
        """Work done since the policy was loaded, by kind: prefill, decode, update; empty where it is not counted."""
        return {}

    def peak_memory(self) -> int | None:
        """The most bytes that were used of the device; None where that is the process's own memory."""
        return None


class Backend(ABC):
    """Loads policies, and estimates their memory. Built by a backends plugin."""

    @property
    def export_formats(self) -> tuple[str, ...]:
        """The formats that `Policy.export` writes; the first is of a whole student, which a run leaves at its end.

        `transformers` is a whole model in transformers' format, with an adapter merged into it; formats whose names end
        in `adapter` are of an adapter alone.
        """
        return ("transformers",)

    @property
    def quantized_formats(self) -> tuple[str, ...]:
        """Those of `export_formats` whose weights are rounded to few bits.

        The exported folder has to be a student that this backend loads: `mentorkit export` measures on it what that
        costs.
        """
        return ()

    def rewrite(self, student: StudentSpec, folder: Path, format: str, *, dtype: str) -> None:
        """Write a student that another backend exported in one of this backend's formats.

        Args:
            student: a folder in the format `transformers`, or a model with the path of an adapter of peft.
            folder: to write.
            format: one of `export_formats`.
            dtype: the floating-point type of the student's weights, such as `bfloat16`.

        Raises:
            BackendError: this backend cannot load the student, or not write it in this format.
        """
        self.load(student, 0).export(folder, format=format)

    @abstractmethod
    def load(self, student: StudentSpec, seed: int) -> Policy:
        """A policy from a folder or hub id; `seed` is for a new adapter's weights.

        Raises:
            MissingError: the folder, the hub or a package cannot be reached.
            BackendError: the folder holds no model this backend can run.
        """

    @abstractmethod
    def estimate(self, student: StudentSpec, load: MemoryLoad) -> MemoryEstimate:
        """Memory a run would need, without loading weights.

        Raises:
            MissingError, BackendError: as `load`.
        """

    def device_memory(self) -> DeviceMemory | None:
        """The memory of the device that the options name; None where it is not known."""
        return None

    def place(self) -> str:
        """The memory that models are loaded into, such as `cuda:0` or `main memory`; empty where it is not known.

        `auto` where a run may take a device that this machine has not. Models of one place share its memory, such as a
        student and a teacher's (`mentor_kit.backend.hosted_model`).
        """
        return ""

    def memory_limit(self) -> int | None:
        """The bytes that the options allow a policy; None where they leave that to the backend."""
        return None

    def usable_memory(self) -> int | None:
        """The bytes of the device that policies may take which are loaded now, whatever `memory_limit` says.

        None where they are not known.
        """
        found = self.device_memory()
        return None if found is None else found.usable

    def held_to(self, memory: int) -> Backend:
        """This backend with policies that take so many bytes at most; backends without such a limit return themselves.

        Never called where there is a `memory_limit`.
        """
        return self

    def savings(self, student: StudentSpec, load: MemoryLoad) -> Sequence[Saving]:
        """The options that would make such a run smaller, those that cost least first. Loads no weights."""
        return ()

    def serve(self) -> bool:
        """Serve the leading process until it ends, in a process that was launched to follow; else return False at once.

        For backends that run one recipe in several processes.
        """
        return False
