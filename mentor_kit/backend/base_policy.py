"""A policy's checks, batching and bookkeeping, over the primitives of a device.

    forward_backward ── check ── micro-batches ── reference log-probabilities ── backward ── finite? ── metrics
    log_probs        ── check ── micro-batches ── log_probs_of ── scattered to completions
    optimizer_step   ── step, next version ── cached keys and values are dropped
    save, restore    ── arrays, optimizer and random state, named by a manifest

A backend's policy subclasses `BasePolicy` and supplies the abstract methods: log-probabilities and gradients of one
micro-batch, an optimizer, and its arrays in files.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from mentor_kit.backend.base_model import name_base_model
from mentor_kit.backend.checkpoint import (
    REFERENCE,
    WEIGHTS,
    Manifest,
    check_student,
    checkpoint_errors,
    dtype_note,
    read_manifest,
    write_manifest,
)
from mentor_kit.backend.held_updates import HeldUpdates
from mentor_kit.backend.microbatching import MicroBatch, Place
from mentor_kit.backend.optimizer import Optimizer, OptimizerSpec
from mentor_kit.backend.policy import Policy, Weights
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup, staleness
from mentor_kit.backend.validation import check_groups
from mentor_kit.core.errors import BackendError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms, combined
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics
from mentor_kit.utils.files import open_to_readers

logger = logging.getLogger("mentor_kit")

Array = TypeVar("Array")
"""The backend's arrays, which have a `shape`."""
OptimizerT = TypeVar("OptimizerT", bound=Optimizer)


class BasePolicy(HeldUpdates, Policy, Generic[Array, OptimizerT]):
    """A policy over the primitives of a backend.

    Args:
        student: what was loaded.
        vocabulary: logits at a position.
        context: the longest context in tokens.
        token_budget: tokens of a micro-batch.
        packed: whether micro-batches are run without padding, and the prompts' common beginning once.
    """

    #: As `Backend.export_formats`.
    export_formats: ClassVar[tuple[str, ...]] = ("transformers",)
    #: What reading the backend's files raises where they are damaged, beside `checkpoint.UNREADABLE`.
    file_errors: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(
        self, student: StudentSpec, *, vocabulary: int, context: int, token_budget: int, packed: bool = False
    ) -> None:
        self.student, self.vocabulary, self.context = student, vocabulary, context
        self.version = 0
        """How many optimizer steps the weights have seen."""
        self.optimizer: OptimizerT | None = None
        self.reference: dict[str, Array] | None = None
        """The trained parameters, and only those, as they were when the reference was taken; empty where the model
        without its adapter is the reference, None where there is none."""
        self.batch_by(token_budget, packed=packed)

    # the primitives of a backend

    @abstractmethod
    def trained(self) -> dict[str, Array]:
        """The parameters that are trained, by name, tied ones once."""

    @abstractmethod
    def log_probs_of(self, batch: MicroBatch) -> Array:
        """Log-probabilities (N, T) of a micro-batch's trained tokens under the model as it is; 0 elsewhere."""

    @abstractmethod
    def backward(self, batch: MicroBatch, objective: Objective, reference: Array | None) -> LossTerms:
        """Add a micro-batch's gradient to the optimizer's; the loss and its metrics.

        Args:
            batch: the micro-batch.
            objective: of the update.
            reference: log-probabilities (N, T) of the reference policy, where the objective needs them.
        """

    @abstractmethod
    def swapped(self, weights: Mapping[str, Array]) -> AbstractContextManager[None]:
        """Run the model with other values in its trained parameters; with none, without its adapter."""

    @abstractmethod
    def make_optimizer(self, spec: OptimizerSpec) -> OptimizerT:
        """A fresh optimizer of the trained parameters."""

    @abstractmethod
    def drop_caches(self) -> None:
        """Drop every key and value that was computed with earlier weights; `version` is the new one."""

    @abstractmethod
    def to_numpy(self, values: Array) -> Floats:
        """An array of log-probabilities in NumPy."""

    @abstractmethod
    def write_arrays(self, path: Path, arrays: Mapping[str, Array]) -> None:
        """Write arrays to a file of safetensors."""

    @abstractmethod
    def read_arrays(self, path: Path) -> dict[str, Array]:
        """Read a file that `write_arrays` wrote."""

    @abstractmethod
    def read_optimizer(self, folder: Path) -> Any:
        """Read the state that the optimizer's `save` wrote to a folder."""

    @abstractmethod
    def load_state(
        self,
        weights: Mapping[str, Array],
        reference: Mapping[str, Array] | None,
        spec: OptimizerSpec | None,
        state: Any,
    ) -> None:
        """Replace the trained parameters, the reference and the optimizer by those of a checkpoint.

        Args:
            weights: of the same names and shapes; their type may be another one.
            reference: as `BasePolicy.reference`.
            spec: of the optimizer; None where there is none.
            state: from `read_optimizer`, or None.
        """

    @abstractmethod
    def write_export(self, folder: Path, format: str) -> None:
        """Make the folder and write the student in one of the `export_formats`; for an adapter's, there is one."""

    # what a backend may change

    def random_state(self) -> Json:
        """The state of the random numbers that dropout draws from; None where nothing is random."""
        return None

    def set_random_state(self, states: Sequence[Json], rank: int = 0) -> None:
        """Set the state of the random numbers.

        Args:
            states: of all processes that held the policy, by rank.
            rank: this process's; one that did not hold it gets a state of its own.
        """
        return None

    def reference_weights(self) -> dict[str, Array]:
        """What `snapshot_reference` keeps: a copy, where arrays change in place."""
        return self.trained()

    def optimizer_changed(self) -> None:
        """Called when another optimizer was made or restored, or none is there any more."""

    def read_terms(self, found: Sequence[LossTerms]) -> list[LossTerms]:
        """The terms of an update's micro-batches as numbers; a device may read them all at once."""
        return list(found)

    # the contract

    def prepare(self, optimizer: OptimizerSpec) -> None:
        if self.optimizer is not None:
            self.optimizer.close()
        self.optimizer = self.make_optimizer(optimizer)
        self.optimizer_changed()

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        return loss_metrics(groups, self.accumulate(groups, objective), self.version)

    def accumulate(
        self, groups: Sequence[TokenGroup], objective: Objective, only: Collection[Place] | None = None
    ) -> list[LossTerms]:
        """Add up the gradients of all the groups' completions, or of those in `only`; the terms by micro-batch."""
        optimizer = self.prepared_optimizer()
        self.check(groups)
        self.make_room()
        try:
            with self.updating():
                found = self.each_batch(groups, objective, only, self._backward_of(objective), optimizer)
                terms = self.read_terms([terms for _, terms in found])
            check_finite(terms)
        except Exception:
            optimizer.clear()
            raise
        return terms

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        optimizer = self.prepared_optimizer()
        with self.updating():
            norm, clipped = optimizer.step(learning_rate)
        self.weights_changed(self.version + 1)
        return StepMetrics(gradient_norm=norm, clipped=clipped, learning_rate=learning_rate, version=self.version)

    def log_probs(self, groups: Sequence[TokenGroup], *, weights: Weights = "current") -> list[list[Floats]]:
        return scattered(groups, self.scores(groups, weights))

    def scores(
        self, groups: Sequence[TokenGroup], weights: Weights, only: Collection[Place] | None = None
    ) -> dict[Place, Floats]:
        """Log-probabilities of all completions, or of those in `only`, each up to its last trained token."""
        self.check(groups)
        found: dict[Place, Floats] = {}
        self.make_room()
        with self.updating():
            for batch, values in self.each_batch(
                groups, None, only, lambda one: self.to_numpy(self._scores(one, weights))
            ):
                lengths = batch.lengths[batch.row_of]
                found |= {place: own[:n] for place, own, n in zip(batch.origin, values, lengths, strict=True)}
        return found

    def snapshot_reference(self) -> None:
        self.reference = self.reference_weights()

    def save(self, folder: Path) -> None:
        self.write_checkpoint(folder, [self.random_state()])

    def write_checkpoint(self, folder: Path, random: Sequence[Json]) -> None:
        """As `save`, with the random states of every process that holds the policy."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write_state(folder)
        manifest = Manifest(
            backend=self.info.backend,
            model=self.student.model,
            dtype=self.info.dtype,
            version=self.version,
            optimizer=None if self.optimizer is None else self.optimizer.spec,
            reference="none" if self.reference is None else "weights" if self.reference else "bare",
            random=tuple(random),
            found=self.found_limits(),
        )
        write_manifest(folder, manifest)
        open_to_readers(folder)

    def write_state(self, folder: Path) -> None:
        """Write the weights, the reference and the optimizer's state of a checkpoint."""
        self.write_arrays(folder / WEIGHTS, self.trained())
        if self.reference:
            self.write_arrays(folder / REFERENCE, self.reference)
        if self.optimizer is not None:
            self.optimizer.save(folder)

    def restore(self, folder: Path) -> None:
        with checkpoint_errors(folder, self.info.backend, self.file_errors):
            manifest = read_manifest(folder, self.info.backend)
            weights = self.read_arrays(folder / WEIGHTS)
            reference: dict[str, Array] | None = None if manifest.reference == "none" else {}
            if manifest.reference == "weights":
                reference = self.read_arrays(folder / REFERENCE)
            own = _shapes(self.trained())
            for arrays in (weights, reference):
                if arrays:
                    check_student(folder, own, _shapes(arrays))
            state = None if manifest.optimizer is None else self.read_optimizer(folder)
            self.hold_to(manifest.found)
            self.load_state(weights, reference, manifest.optimizer, state)
        self.set_random_state(manifest.random)
        self.restored(manifest.version)
        if (note := dtype_note(folder, manifest.dtype, self.info.dtype)) is not None:
            logger.warning(note)

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        if format not in self.export_formats:
            known = ", ".join(f"`{name}`" for name in self.export_formats)
            raise UsageError(f"{self.info.backend} does not export {format!r}", hint=f"it exports {known}")
        if format.endswith("adapter") and self.student.adapter is None:
            whole = " or ".join(f"`{name}`" for name in self.export_formats if not name.endswith("adapter"))
            raise UsageError("there is no adapter to export", hint=f"use the format {whole}")
        self.write_export(folder, format)
        name_base_model(folder, self.student)
        open_to_readers(folder)

    # for the policies of several processes

    def restored(self, version: int) -> None:
        """Take note of weights and an optimizer that were replaced."""
        self.optimizer_changed()
        self.weights_changed(version)

    def weights_changed(self, version: int) -> None:
        """Take note of other weights."""
        self.version = version
        self.drop_caches()

    def check(self, groups: Sequence[TokenGroup]) -> None:
        """Refuse groups that the model cannot take.

        Raises:
            BackendError: naming what does not fit.
        """
        check_groups(groups, vocabulary=self.vocabulary, context=self.context)

    def prepared_optimizer(self) -> OptimizerT:
        """The optimizer.

        Raises:
            BackendError: there is none yet.
        """
        if self.optimizer is None:
            raise BackendError("no optimizer: call `prepare` before training")
        return self.optimizer

    def _backward_of(self, objective: Objective) -> Callable[[MicroBatch], LossTerms]:
        return lambda batch: self._backward(batch, objective)

    def _backward(self, batch: MicroBatch, objective: Objective) -> LossTerms:
        reference = self._scores(batch, "reference") if objective.spec.needs_reference else None
        return self.backward(batch, objective, reference)

    def _scores(self, batch: MicroBatch, weights: Weights) -> Array:
        if weights == "current":
            return self.log_probs_of(batch)
        with self._as_reference():
            return self.log_probs_of(batch)

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        if self.reference is None:
            raise BackendError("there is no reference policy: call `snapshot_reference` first")
        with self.swapped(self.reference):
            yield


def loss_metrics(groups: Sequence[TokenGroup], found: Sequence[LossTerms], version: int) -> LossMetrics:
    """The metrics of an update of the groups by weights of `version`, from the terms of its micro-batches.

    `staleness_max` is among them where a trained token was sampled by older weights.
    """
    behind = staleness(groups, version)
    masks = [completion.mask for group in groups for completion in group.completions]
    tokens = int(sum(mask.sum() for mask in masks))
    return LossMetrics(
        loss=sum(float(terms.loss) for terms in found),
        tokens=tokens,
        sequences=sum(bool(mask.any()) for mask in masks),
        values=combined(found, tokens) | ({"staleness_max": float(behind)} if behind > 0 else {}),
    )


def scattered(groups: Sequence[TokenGroup], scores: Mapping[Place, Floats]) -> list[list[Floats]]:
    """Log-probabilities as `Policy.log_probs` gives them: of each completion at full length, 0 where there are none."""
    found = [[np.zeros(len(c.ids), dtype=np.float32) for c in group.completions] for group in groups]
    for (group, index), values in scores.items():
        found[group][index][: len(values)] = values
    return found


def check_finite(found: Sequence[LossTerms]) -> None:
    """Refuse a loss that is not finite.

    Raises:
        BackendError: with the first such loss.
    """
    for loss in (float(terms.loss) for terms in found):
        if not np.isfinite(loss):
            raise BackendError(f"the loss is {loss}", hint="lower the learning rate, or use `dtype: float32`")


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in arrays.items()}
