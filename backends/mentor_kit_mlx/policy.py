"""The mlx policy: a model of mlx-lm that samples, learns, and is saved."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import mlx.core as mx
import numpy as np

from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy, PolicyInfo
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.backend.validation import check_groups
from mentor_kit.core.errors import BackendError, UsageError
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms, combined
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics
from mentor_kit_mlx import checkpoint, export
from mentor_kit_mlx.adapter_files import AdapterFile
from mentor_kit_mlx.adapters import dropout
from mentor_kit_mlx.cache import UNFIT, check_quantized, keeps_rows
from mentor_kit_mlx.context import longest_context
from mentor_kit_mlx.engine import MLXEngine
from mentor_kit_mlx.gradient_checkpointing import GradientCheckpointing, is_exact
from mentor_kit_mlx.lm_wrapper import LMWrapper
from mentor_kit_mlx.loading import Loaded, compiles, first_line
from mentor_kit_mlx.memory import KVBudget, activation_bytes, in_gib, position_bytes, room_for_keys, wants_checkpointing
from mentor_kit_mlx.optimizer import MLXOptimizer
from mentor_kit_mlx.options import MLXOptions
from mentor_kit_mlx.params import Arrays, by_name, parameter_count, put, trained
from mentor_kit_mlx.self_check import exact
from mentor_kit_mlx.update import completion_log_probs, loss_and_gradients

logger = logging.getLogger("mentor_kit_mlx")


class MLXPolicy(Policy):
    """A policy over a model that is loaded already.

    Args:
        loaded: the model in evaluation mode, with its adapter on it if there is one.
        adapter: what that is.
        student: what it was loaded from.
        options: the backend's.
        allowed: bytes that the run may take; None for no limit.

    Raises:
        BackendError: the weights are quantized and there is no adapter, or memory is too small for them.
    """

    def __init__(
        self,
        loaded: Loaded,
        adapter: AdapterFile | None,
        student: StudentSpec,
        options: MLXOptions,
        allowed: int | None,
    ) -> None:
        self.model = loaded.model
        self.student = student
        self.options = options
        self.version = 0
        self.compiled = compiles(options)
        self.head = LMWrapper(self.model)
        self.optimizer: MLXOptimizer | None = None
        self.reference: Arrays | None = None
        """Trained parameters as they were, and only those: the adapter's, or all; None while there is none."""
        self._loaded, self._adapter, self._allowed = loaded, adapter, allowed
        if adapter is None and any(value.dtype == mx.uint32 for value in by_name(self.model.parameters()).values()):
            raise BackendError(
                f"{student.model} is quantized: its weights cannot be trained themselves",
                hint="add `student.adapter`, or take a model that is not quantized",
            )
        self._context = longest_context(self.model, loaded.config, options)
        with exact(self.head):
            self._keeps = keeps_rows(self.head)
        if not self._keeps:
            logger.warning(
                "%s: its layers keep other state than keys and values: whole contexts are run, without sharing",
                student.model,
            )
        if options.quantized is not None:
            check_quantized(self.head, options.quantized, keeps=self._keeps)
        self._recomputing = None
        if options.gradient_checkpointing is not False:
            self._recomputing = GradientCheckpointing(self.model, dropout=adapter is not None and adapter.dropout > 0)
        self._activations: int | None = None
        """Bytes that layers keep in an update, where it depends on them whether they do."""
        if options.gradient_checkpointing == "auto" and allowed is not None:
            size = self.head.dtype.size
            self._activations = activation_bytes(loaded.config, options.token_budget, size, checkpointed=False)
        self.recomputes = False
        """Whether layers are computed again in the backward pass."""
        self._engine = MLXEngine(
            self.head,
            keeps=self._keeps,
            slots=options.slots,
            context=self._context,
            chunk=options.prefill_chunk,
            budget=options.token_budget,
            room=self._room(None),
            quantized=options.quantized,
        )

    @property
    def info(self) -> PolicyInfo:
        trainable = sum(value.size for value in trained(self.model).values())
        return PolicyInfo(
            model=self.student.model,
            parameters=parameter_count(self.model) - self._loaded.parameters_twice,
            trainable=trainable,
            vocabulary=self.head.vocabulary,
            context=self._context,
            device=str(mx.default_device().type).removeprefix("DeviceType."),
            dtype=str(self.head.dtype).removeprefix("mlx.core."),
            backend="mlx",
        )

    def prepare(self, optimizer: OptimizerSpec) -> None:
        self.optimizer = MLXOptimizer(self.model, optimizer, compiled=self.compiled)
        self._engine.room = self._room(optimizer)
        self._decide_to_recompute()

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        return loss_metrics(groups, self.accumulate(groups, objective))

    def accumulate(
        self, groups: Sequence[TokenGroup], objective: Objective, only: Collection[tuple[int, int]] | None = None
    ) -> list[LossTerms]:
        """Add up the gradients of all the groups' completions, or of those (group, completion) alone."""
        optimizer = self.check_prepared()
        self._check(groups)
        try:
            return [
                self._backward(optimizer, batch, objective)
                for batch in micro_batches(groups, self.options.token_budget, objective, only=only)
            ]
        except BackendError:
            optimizer.clear()
            raise

    def check_prepared(self) -> MLXOptimizer:
        """The optimizer.

        Raises:
            BackendError: there is none yet.
        """
        if self.optimizer is None:
            raise BackendError("no optimizer: call `prepare` before training")
        return self.optimizer

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        norm, clipped = self.check_prepared().step(learning_rate)
        self._changed(self.version + 1)
        return StepMetrics(gradient_norm=norm, clipped=clipped, learning_rate=learning_rate, version=self.version)

    def log_probs(
        self, groups: Sequence[TokenGroup], *, weights: Literal["current", "reference"] = "current"
    ) -> list[list[Floats]]:
        found = [[np.zeros(len(c.ids), dtype=np.float32) for c in group.completions] for group in groups]
        for (group, index), values in self.scores(groups, weights).items():
            found[group][index][: len(values)] = values
        return found

    def scores(
        self,
        groups: Sequence[TokenGroup],
        weights: Literal["current", "reference"],
        only: Collection[tuple[int, int]] | None = None,
    ) -> dict[tuple[int, int], Floats]:
        """Log-probabilities by (group, completion), up to the last trained token; of those in `only`, or of all."""
        self._check(groups)
        found: dict[tuple[int, int], Floats] = {}
        for batch in micro_batches(groups, self.options.token_budget, only=only):
            values = np.array(self._scores(batch, weights))
            lengths = batch.lengths[batch.row_of]
            found |= {place: own[:n] for place, own, n in zip(batch.origin, values, lengths, strict=True)}
        return found

    def snapshot_reference(self) -> None:
        """Make the current weights the reference; arrays never change, so nothing is copied before an update."""
        self.reference = trained(self.model)

    def engine(self) -> MLXEngine:
        return self._engine

    def save(self, folder: Path) -> None:
        checkpoint.save(self, folder)

    def restore(self, folder: Path) -> None:
        checkpoint.restore(self, folder)
        self.restored(self.version)

    def restored(self, version: int) -> None:
        """Weights and optimizer are others now."""
        self._engine.room = self._room(None if self.optimizer is None else self.optimizer.spec)
        if self.optimizer is not None:
            self._decide_to_recompute()
        self._changed(version)

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        if format in ("adapter", "mlx-adapter"):
            if self._adapter is None:
                raise UsageError("there is no adapter to export", hint="use the format `transformers` or `mlx`")
            if format == "adapter":
                export.write_peft(self._loaded, self._adapter, folder, self.student.model)
            else:
                export.write_mlx_adapter(self._loaded, self._adapter, folder)
        elif format == "transformers":
            export.write_transformers(self._loaded, folder)
        elif format == "mlx":
            export.write_mlx(self._loaded, folder)
        else:
            raise UsageError(
                f"mlx does not export {format!r}",
                hint="it exports `transformers`, `mlx`, `adapter` (for peft) and `mlx-adapter`",
            )

    def _room(self, optimizer: OptimizerSpec | None) -> KVBudget:
        """What is left for keys and values beside an optimizer."""
        per_position = position_bytes(self._loaded.config, self.head.dtype.size, self.options.quantized)
        room = room_for_keys(self.model, per_position, self._allowed, optimizer)
        if not room.fits(1, 1):
            raise BackendError(
                f"{self.student.model} does not fit into the {in_gib(self._allowed or 0)} it may take: its weights"
                f"{'' if optimizer is None else ', gradients and optimizer'} leave {in_gib(room.bytes or 0)}",
                hint="train an adapter, quantize the model, take a smaller one, or raise `backend.memory`",
            )
        return room

    def _decide_to_recompute(self) -> None:
        wanted = self.options.gradient_checkpointing
        room = self._engine.room.bytes
        kept = self._activations
        self.recomputes = wanted is True or (kept is not None and room is not None and wants_checkpointing(kept, room))
        if not self.recomputes or self._recomputing is None:
            return
        try:
            right = is_exact(self.head, self._recomputing, share=self._keeps)
        except UNFIT as error:
            raise BackendError(
                f"{self.student.model} cannot be trained: its gradient cannot be computed: {first_line(error)}",
                hint="take another model, or `backend: torch`",
            ) from error
        if not right:
            if wanted is True:
                raise BackendError(
                    f"backend.gradient_checkpointing: {self.student.model} would get wrong gradients",
                    hint="leave it out, and lower `backend.token_budget` to save memory",
                )
            logger.warning("%s: its layers cannot be checkpointed; everything is kept", self.student.model)
            self.recomputes = False

    def _backward(self, optimizer: MLXOptimizer, batch: MicroBatch, objective: Objective) -> LossTerms:
        reference = self._scores(batch, "reference") if objective.spec.needs_reference else None
        recomputed = self._recomputing.on() if self._recomputing is not None and self.recomputes else nullcontext()
        with dropout(self.model), recomputed:
            terms, gradients = loss_and_gradients(self.head, batch, objective, reference, share=self._keeps)
        if not np.isfinite(float(terms.loss)):
            raise BackendError(
                f"the loss is {float(terms.loss)}", hint="lower the learning rate, or use `dtype: float32`"
            )
        optimizer.add(gradients)
        return terms

    def _scores(self, batch: MicroBatch, weights: Literal["current", "reference"]) -> mx.array:
        if weights == "current":
            found = completion_log_probs(self.head, batch, share=self._keeps)
            mx.eval(found)
            return found
        with self._as_reference():
            return self._scores(batch, "current")

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        """The model is the reference policy for a while."""
        if self.reference is None:
            raise BackendError("there is no reference policy: call `snapshot_reference` first")
        current = trained(self.model)
        try:
            put(self.model, self.reference)
            yield
        finally:
            put(self.model, current)

    def _changed(self, version: int) -> None:
        """The weights are others now: nothing cached is of use."""
        self.version = version
        self._engine.drop(version)

    def _check(self, groups: Sequence[TokenGroup]) -> None:
        check_groups(groups, vocabulary=self.head.vocabulary, context=self._context)


def loss_metrics(groups: Sequence[TokenGroup], found: Sequence[LossTerms]) -> LossMetrics:
    """What an update of the groups saw, from its micro-batches."""
    completions = [completion for group in groups for completion in group.completions]
    tokens = int(sum(completion.mask.sum() for completion in completions))
    return LossMetrics(
        loss=sum(float(terms.loss) for terms in found),
        tokens=tokens,
        sequences=sum(bool(completion.mask.any()) for completion in completions),
        values=combined(found, tokens),
    )
