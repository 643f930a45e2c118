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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from mentor_kit.objective import Objective
from mentor_kit.record import Record

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class AdapterSpec:
    """A low-rank adapter on the student: a new one, or one that exists in a folder."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    """Names of the modules to adapt; empty for all linear layers but the output projection."""
    path: Path | None = None
    """A folder with an adapter to go on training; the other fields are then read from it."""


@dataclass(frozen=True)
class StudentSpec:
    """Which model to load. `model` is a folder in transformers' format, or a hub id."""

    model: str
    revision: str | None = None
    adapter: AdapterSpec | None = None


#: How much of a moving average stays in a step.
Share = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSpec(Record):
    """An optimizer without its learning rate: the schedule stays with the stage."""

    model_config = ConfigDict(allow_inf_nan=False)

    use: Literal["adamw", "muon"] = "adamw"
    """muon: for the hidden matrices, with AdamW for embeddings, output projection, norms and biases."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: float = Field(default=1e-8, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's; its step is scaled to AdamW's root mean square of 0.2, so that both take the same learning rates
    (arXiv 2502.16982)."""
    clip: float | None = Field(default=1.0, gt=0)
    """The gradient's global norm is cut to this; None for no clipping."""


@dataclass(frozen=True)
class SampleRequest:
    """One turn to sample. The engine reuses the keys and values of the longest prefix it holds."""

    id: str
    session: str
    """The episode: requests of one session extend one another's context."""
    context: Sequence[int]
    """All token ids so far, at least one."""
    temperature: float
    """0 is greedy."""
    max_new_tokens: int
    stop_ids: frozenset[int]
    seed: int
    """0 <= seed < 2**64."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all."""


@dataclass(frozen=True)
class Completion:
    """What was sampled for a request."""

    id: str
    ids: tuple[int, ...]
    """The new tokens, the stop token included."""
    log_probs: tuple[float, ...]
    """Of the full distribution at the request's temperature (1 when it is 0), before top-p and top-k."""
    finish: Literal["stop", "length", "cancelled"]
    version: int
    """How many optimizer steps the weights have seen."""


@dataclass(frozen=True)
class TokenCompletion:
    """One completion of a group, as the update needs it. n tokens follow the group's prompt."""

    ids: Ints
    """Shape (n,): sampled tokens and, between turns, inserted ones."""
    mask: Floats
    """Shape (n,): 1 at sampled tokens, which are trained on, else 0."""
    log_probs: Floats
    """Shape (n,): the sampler's."""
    advantage: float | Floats = 0.0
    """One number for all tokens, or shape (n,)."""
    old_log_probs: Floats | None = None
    """Shape (n,): recomputed before this round of updates; None takes the sampler's."""


@dataclass(frozen=True)
class TokenGroup:
    """Completions of one prompt. The result of an update does not depend on how groups are batched."""

    prompt_ids: Ints
    """Shape (p,), p >= 1."""
    completions: tuple[TokenCompletion, ...]
    temperature: float = 1.0


class LossMetrics(Record):
    """What one `forward_backward` saw; means are over the trained tokens."""

    loss: float
    tokens: int
    sequences: int
    values: dict[str, float] = {}
    """Means (kl, clipped, entropy, mismatch, ratio) and maxima (mismatch_max)."""


class StepMetrics(Record):
    """What one `optimizer_step` did."""

    gradient_norm: float
    """Before clipping."""
    clipped: bool
    learning_rate: float
    version: int
    """The weights' version after the step."""


class PolicyInfo(Record):
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


class Sampler(Protocol):
    """Speaks for a policy."""

    async def sample(self, request: SampleRequest) -> Completion:
        """Sample one turn.

        Raises:
            BackendError: the request alone exceeds the context or the memory there is.
        """
        ...

    def cancel(self, request_id: str) -> None:
        """End a request early; its completion comes with finish `cancelled`. Unknown ids are ignored."""
        ...

    def release(self, session: str) -> None:
        """Forget a session's keys and values. Unknown sessions are ignored."""
        ...


class Engine(Protocol):
    """A step-driven sampler, as local backends implement it; `rollout.sampler` makes it a `Sampler`."""

    def submit(self, request: SampleRequest) -> None:
        """Queue a request.

        Raises:
            BackendError: the request alone exceeds the context or the memory there is.
        """
        ...

    def step(self) -> list[Completion]:
        """Advance everything that is queued or running by one token (or a chunk of prompt).

        Returns the requests that finished, in the order of submission; empty while none did.
        """
        ...

    @property
    def busy(self) -> bool:
        """Whether any request is queued or running."""
        ...

    def cancel(self, request_id: str) -> None:
        """As `Sampler.cancel`; the completion comes with the next `step`."""
        ...

    def release(self, session: str) -> None:
        """As `Sampler.release`."""
        ...


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


@dataclass(frozen=True)
class MemoryLoad:
    """What a recipe asks of a policy at its widest."""

    sequences: int
    """Sampled at once."""
    context: int
    """Tokens of the longest sequence."""
    train_tokens: int
    """Tokens in one micro-batch of the update; 0 lets the backend take its own budget."""
    optimizer: OptimizerSpec | None = field(default_factory=OptimizerSpec)
    """None where nothing is trained: no gradients, optimizer and activations then."""
    reference: bool = False
    """Whether a reference policy is kept."""


class MemoryEstimate(Record):
    """Bytes, by what they are for."""

    parameters: int
    """The number of parameters."""
    trainable: int
    parts: dict[str, int]
    """Bytes: weights, gradients, optimizer, reference, keys and values, activations."""
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All parts together, in bytes."""
        return sum(self.parts.values())


class MachineLimits(Record):
    """What a device does at best, in a policy's type of number."""

    flops: float
    """Of large matrix products, a second."""
    bandwidth: float
    """Bytes read and written while copying, a second."""


class Work(Record):
    """What a policy has done of one kind, in all."""

    seconds: float = 0.0
    tokens: int = 0
    """Run through the model."""
    flops: float = 0.0
    bytes: float = 0.0
    """Read at least: the weights once a pass, and the keys and values that were attended to."""


@runtime_checkable
class Measured(Protocol):
    """A policy that counts its work and can tell what its machine would allow; optional, for `mentorkit bench`."""

    def limits(self) -> MachineLimits:
        """Measured now; takes about a second."""
        ...

    def work(self) -> dict[str, Work]:
        """Since it was loaded, by kind: prefill, decode, update."""
        ...

    def peak_memory(self) -> int | None:
        """The most bytes that were used of the device; None where that is the process's own memory."""
        ...
