"""The torch policy: a transformers model that samples, learns, and is saved."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.backend.kv_budget import KVBudget
from mentor_kit.backend.microbatching import MicroBatch, micro_batches
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy, PolicyInfo
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.backend.token_groups import Floats, TokenGroup
from mentor_kit.backend.validation import check_groups
from mentor_kit.core.errors import BackendError, UsageError
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms, combined
from mentor_kit.rl.update_metrics import LossMetrics, StepMetrics
from mentor_kit.utils.files import open_to_readers
from mentor_kit_torch import checkpoint, flops_counter
from mentor_kit_torch.adapters import merged, quiet
from mentor_kit_torch.cache import keeps_rows
from mentor_kit_torch.compiled import compile_decoding
from mentor_kit_torch.cuda_graphs import cuda_graphs
from mentor_kit_torch.lm_wrapper import LMWrapper
from mentor_kit_torch.memory import position_bytes
from mentor_kit_torch.optimizer import TorchOptimizer
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.row_device import TorchRowDevice
from mentor_kit_torch.self_check import exact
from mentor_kit_torch.update import batch_loss, completion_log_probs, how_to_share

logger = logging.getLogger("mentor_kit_torch")


class TorchPolicy(Policy):
    """A policy over a model that is loaded already.

    Args:
        model: on its device, in evaluation mode; a peft model when there is an adapter.
        student: what it was loaded from.
        options: the backend's.
    """

    def __init__(self, model: Any, student: StudentSpec, options: TorchOptions) -> None:
        self.model = model
        self.student = student
        self.options = options
        self.version = 0
        self.head = LMWrapper(model)
        self.optimizer: TorchOptimizer | None = None
        self.reference: dict[str, Tensor] | None = None
        """Trained parameters as they were; None while there is no reference, or where it is the bare model."""
        self._context = min(self.head.longest_context, options.max_context or self.head.longest_context)
        with exact(self.head):
            self._keeps = keeps_rows(self.head)
            self._sharing = how_to_share(self.head, self._keeps, recompute=options.gradient_checkpointing)
        if not self._keeps:
            logger.warning(
                "%s: its layers keep other state than keys and values: whole contexts are run, without sharing",
                student.model,
            )
        if options.gradient_checkpointing and self.head.lean is None:
            raise BackendError(
                f"{student.model}: its layers cannot be run again in the backward pass",
                hint="leave `backend.gradient_checkpointing` out, and lower `backend.token_budget` to save memory",
            )
        if self._sharing == "prompts":
            logger.warning(
                "%s: not every layer attends to everything before: updates share each prompt, not what prompts share",
                student.model,
            )
        recorder = cuda_graphs(self.head.device, self._keeps) if options.cuda_graphs else None
        if options.compile:
            compile_decoding(self.head)
        self._engine = StepEngine(
            TorchRowDevice(
                self.head, keeps_rows=self._keeps, attends_prefix=self._sharing == "tree", recorder=recorder
            ),
            slots=options.slots,
            context=self._context,
            chunk=options.prefill_chunk,
            token_budget=options.token_budget,
            budget=KVBudget(
                limit=None if options.kv_memory is None else int(options.kv_memory * 2**30),
                position=position_bytes(self.head.config, self.head.dtype.itemsize),
            ),
        )

    @property
    def adapted(self) -> bool:
        """Whether an adapter is trained rather than the model."""
        return hasattr(self.model, "peft_config")

    @property
    def _packs(self) -> bool:
        """Whether micro-batches are run without padding."""
        return self._sharing == "tree"

    @property
    def info(self) -> PolicyInfo:
        return PolicyInfo(
            model=self.student.model,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            trainable=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            vocabulary=self.head.vocabulary,
            context=self._context,
            device=str(self.head.device),
            dtype=str(self.head.dtype).removeprefix("torch."),
            backend="torch",
        )

    def prepare(self, optimizer: OptimizerSpec) -> None:
        if self.optimizer is not None:
            self.optimizer.close()
        self.optimizer = TorchOptimizer(self.model, optimizer)
        self.optimizer.clear()

    def limits(self) -> MachineLimits:
        return flops_counter.limits(self.head.device, self.head.dtype)

    def work(self) -> dict[str, Work]:
        return self.head.meter.work()

    def peak_memory(self) -> int | None:
        return flops_counter.peak_memory(self.head.device)

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        if self.optimizer is None:
            raise BackendError("no optimizer: call `prepare` before training")
        self._check(groups)
        budget = self.options.token_budget
        try:
            batches = micro_batches(groups, budget, objective, packed=self._packs)
            with self.head.meter.on("update"):
                found = [self._backward(batch, objective) for batch in batches]
        except torch.OutOfMemoryError as error:
            self.optimizer.clear()
            raise BackendError(
                f"out of memory in an update with up to {budget} tokens at once", hint="lower `backend.token_budget`"
            ) from error
        except BackendError:
            self.optimizer.clear()
            raise
        tokens = int(sum(completion.mask.sum() for group in groups for completion in group.completions))
        sequences = sum(bool(completion.mask.any()) for group in groups for completion in group.completions)
        return LossMetrics(
            loss=sum(float(terms.loss.detach()) for terms in found),
            tokens=tokens,
            sequences=sequences,
            values=combined(found, tokens),
        )

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        if self.optimizer is None:
            raise BackendError("no optimizer: call `prepare` before training")
        with self.head.meter.on("update"):
            norm, clipped = self.optimizer.step(learning_rate)
        self._changed(self.version + 1)
        return StepMetrics(gradient_norm=norm, clipped=clipped, learning_rate=learning_rate, version=self.version)

    def log_probs(
        self, groups: Sequence[TokenGroup], *, weights: Literal["current", "reference"] = "current"
    ) -> list[list[Floats]]:
        self._check(groups)
        found = [[np.zeros(len(c.ids), dtype=np.float32) for c in group.completions] for group in groups]
        for batch in micro_batches(groups, self.options.token_budget, packed=self._packs):
            with self.head.meter.on("update"):
                values = self._scores(batch, weights).cpu().numpy()
            for place, (group, index) in enumerate(batch.origin):
                length = int(batch.lengths[batch.row_of[place]])
                found[group][index][:length] = values[place, :length]
        return found

    def snapshot_reference(self) -> None:
        """Make the current weights the reference.

        An adapter that is new and untrained adds nothing, so the model without it is the reference, with no copy.
        Otherwise the trained parameters, and only those, are copied: the adapter's, or all.
        """
        adapter = self.student.adapter
        untrained = adapter is not None and adapter.path is None and self.version == 0
        self.reference = None if untrained else checkpoint.trained(self.model, copy=True)

    def engine(self) -> StepEngine:
        return self._engine

    def save(self, folder: Path) -> None:
        checkpoint.save(self, folder)

    def restore(self, folder: Path) -> None:
        checkpoint.restore(self, folder)
        self._changed(self.version)

    def export(self, folder: Path, *, format: str = "transformers") -> None:
        if format == "adapter":
            if not self.adapted:
                raise UsageError("there is no adapter to export", hint="use the format `transformers`")
            with quiet():
                self.model.save_pretrained(folder)
        elif format == "transformers":
            (merged(self.model) if self.adapted else self.model).save_pretrained(folder)
        else:
            raise UsageError(f"torch does not export {format!r}", hint="it exports `transformers` and `adapter`")
        open_to_readers(folder)

    def _backward(self, batch: MicroBatch, objective: Objective) -> LossTerms:
        reference = self._scores(batch, "reference") if objective.spec.needs_reference else None
        # in the backward pass too: layers that are run again there must drop the same
        with dropout(self.model, self.student.adapter):
            terms = batch_loss(self.head, batch, objective, reference, self._sharing)
            if not bool(torch.isfinite(terms.loss)):
                raise BackendError(
                    f"the loss is {float(terms.loss.detach())}", hint="lower the learning rate, or use `dtype: float32`"
                )
            terms.loss.backward()
        return LossTerms(terms.loss.detach(), terms.sums, terms.maxima)

    @torch.no_grad()
    def _scores(self, batch: MicroBatch, weights: Literal["current", "reference"]) -> Tensor:
        if weights == "current":
            return completion_log_probs(self.head, batch, self._sharing)
        with self._as_reference():
            return completion_log_probs(self.head, batch, self._sharing)

    @contextmanager
    def _as_reference(self) -> Iterator[None]:
        """The model is the reference policy for a while."""
        if self.reference is not None:
            with swapped(self.model, self.reference):
                yield
        elif self.adapted:
            with self.model.disable_adapter():
                yield
        else:
            raise BackendError("there is no reference policy: call `snapshot_reference` first")

    def _changed(self, version: int) -> None:
        """The weights are others now: nothing cached is of use."""
        self.version = version
        self._engine.drop(version)

    def _check(self, groups: Sequence[TokenGroup]) -> None:
        check_groups(groups, vocabulary=self.head.vocabulary, context=self._context)


@contextmanager
def swapped(model: Any, weights: dict[str, Tensor]) -> Iterator[None]:
    """The model with other values in the named parameters; no gradients may be pending across it."""
    parameters = dict(model.named_parameters())
    kept = {name: parameters[name].data for name in weights}
    try:
        for name, value in weights.items():
            parameters[name].data = value
        yield
    finally:
        for name, value in kept.items():
            parameters[name].data = value


@contextmanager
def dropout(model: Any, adapter: AdapterSpec | None) -> Iterator[None]:
    """The adapter's own dropout is active for a while; the model's never is, as its sampling has none either."""
    parts = [] if adapter is None else [m for name, m in model.named_modules() if name.endswith("lora_dropout")]
    try:
        for part in parts:
            part.train()
        yield
    finally:
        for part in parts:
            part.eval()
