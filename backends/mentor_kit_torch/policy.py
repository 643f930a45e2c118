"""The torch policy: a transformers model that samples, learns, and is saved."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mentor_kit.batching import MicroBatch, micro_batches
from mentor_kit.errors import BackendError, UsageError
from mentor_kit.losses import LossTerms
from mentor_kit.objective import Objective
from mentor_kit.policy import Floats, LossMetrics, OptimizerSpec, PolicyInfo, StepMetrics, StudentSpec, TokenGroup
from mentor_kit_torch import checkpoint
from mentor_kit_torch.engine import TorchEngine
from mentor_kit_torch.head import Head
from mentor_kit_torch.optimizer import Optimizer
from mentor_kit_torch.options import TorchOptions
from mentor_kit_torch.update import batch_loss, completion_log_probs

logger = logging.getLogger("mentor_kit_torch")


class TorchPolicy:
    """A `mentor_kit.policy.Policy` over a model that is loaded already.

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
        self.head = Head(model)
        self.optimizer: Optimizer | None = None
        self.reference: Any = None
        """A frozen copy of the model; None while there is none, or where switching the adapter off is enough."""
        self._config = self.head.config
        self._context = _longest_context(self._config, options)
        self._share = _is_shareable(self._config)
        if not self._share:
            logger.info("%s: prompts are not shared in the update: its layers keep other state", student.model)
        self._engine = TorchEngine(
            self.head,
            layers=self._config.num_hidden_layers,
            slots=options.slots,
            context=self._context,
            chunk=options.prefill_chunk,
        )

    @property
    def adapted(self) -> bool:
        """Whether an adapter is trained rather than the model."""
        return hasattr(self.model, "peft_config")

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
        self.optimizer = Optimizer(self.model, optimizer)
        self.optimizer.clear()

    def forward_backward(self, groups: Sequence[TokenGroup], objective: Objective) -> LossMetrics:
        if self.optimizer is None:
            raise BackendError("no optimizer: call `prepare` before training")
        self._check_lengths(groups)
        found = [
            self._backward(batch, objective) for batch in micro_batches(groups, self.options.token_budget, objective)
        ]
        tokens = int(sum(completion.mask.sum() for group in groups for completion in group.completions))
        sequences = sum(bool(completion.mask.any()) for group in groups for completion in group.completions)
        return LossMetrics(
            loss=sum(float(terms.loss.detach()) for terms in found),
            tokens=tokens,
            sequences=sequences,
            values=_values(found, tokens),
        )

    def optimizer_step(self, learning_rate: float) -> StepMetrics:
        if self.optimizer is None:
            raise BackendError("no optimizer: call `prepare` before training")
        norm, clipped = self.optimizer.step(learning_rate)
        self._changed(self.version + 1)
        return StepMetrics(gradient_norm=norm, clipped=clipped, learning_rate=learning_rate, version=self.version)

    def log_probs(
        self, groups: Sequence[TokenGroup], *, weights: Literal["current", "reference"] = "current"
    ) -> list[list[Floats]]:
        self._check_lengths(groups)
        found = [[np.zeros(len(c.ids), dtype=np.float32) for c in group.completions] for group in groups]
        for batch in micro_batches(groups, self.options.token_budget):
            values = self._scores(batch, weights).cpu().numpy()
            for row, (group, index) in enumerate(batch.origin):
                target = found[group][index]
                target[:] = values[row, : len(target)]
        return found

    def snapshot_reference(self) -> None:
        # a new adapter starts at zero, so the model without it is the reference; one that was trained does not
        if (
            self.adapted
            and self.student.adapter is not None
            and self.student.adapter.path is None
            and self.version == 0
        ):
            self.reference = None
        else:
            self.snapshot_copy()

    def snapshot_copy(self) -> None:
        """Keep a frozen copy of the model as it is."""
        self.reference = copy.deepcopy(self.model).requires_grad_(False).eval()

    def engine(self) -> TorchEngine:
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
            self.model.save_pretrained(folder)
        elif format == "transformers":
            model = copy.deepcopy(self.model).merge_and_unload() if self.adapted else self.model
            model.save_pretrained(folder)
        else:
            raise UsageError(f"torch does not export {format!r}", hint="it exports `transformers` and `adapter`")

    def _backward(self, batch: MicroBatch, objective: Objective) -> LossTerms:
        reference = self._scores(batch, "reference") if objective.needs_reference else None
        terms = batch_loss(self.head, batch, objective, reference, share=self._share)
        if not bool(torch.isfinite(terms.loss)):
            raise BackendError(
                f"the loss is {float(terms.loss)}", hint="lower the learning rate, or use `dtype: float32`"
            )
        terms.loss.backward()
        return terms

    @torch.no_grad()
    def _scores(self, batch: MicroBatch, weights: Literal["current", "reference"]) -> Tensor:
        if weights == "current":
            return completion_log_probs(self.head, batch, share=self._share)
        with self._as_reference() as head:
            return completion_log_probs(head, batch, share=self._share)

    @contextmanager
    def _as_reference(self) -> Iterator[Head]:
        if self.reference is not None:
            yield Head(self.reference)
        elif self.adapted:
            with self.model.disable_adapter():
                yield self.head
        else:
            raise BackendError("there is no reference policy: call `snapshot_reference` first")

    def _changed(self, version: int) -> None:
        """The weights are others now: nothing cached is of use."""
        self.version = version
        self._engine.drop(version)

    def _check_lengths(self, groups: Sequence[TokenGroup]) -> None:
        for group in groups:
            longest = len(group.prompt_ids) + max((len(c.ids) for c in group.completions), default=0)
            if longest > self._context:
                raise BackendError(f"a sequence of {longest} tokens exceeds the context of {self._context}")


def _values(found: Sequence[LossTerms], tokens: int) -> dict[str, float]:
    """Metrics over all micro-batches: means over tokens, and maxima."""
    names = found[0].sums if found else {}
    means = {name: sum(float(terms.sums[name]) for terms in found) / max(tokens, 1) for name in names}
    return means | {
        name: max(float(terms.maxima[name]) for terms in found) for name in (found[0].maxima if found else {})
    }


def _longest_context(config: Any, options: TorchOptions) -> int:
    own = int(getattr(config, "max_position_embeddings", 0) or 1 << 20)
    return min(own, options.max_context or own)


def _is_shareable(config: Any) -> bool:
    """Whether every layer keeps plain keys and values of all positions."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return kinds == {"full_attention"} and (window is None or "layer_types" in config.to_dict())
