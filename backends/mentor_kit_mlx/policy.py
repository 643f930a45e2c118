"""The mlx policy: a model of mlx-lm that samples, learns, and is saved."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mentor_kit.backend.distributed.replica import Replica
from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.folders import first_line, untrainable
from mentor_kit.backend.memory import TrainedSize
from mentor_kit.backend.memory_plan import Footprint, MemoryPlan, UpdateShape, plan_memory
from mentor_kit.backend.microbatching import MicroBatch
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import PolicyInfo
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats
from mentor_kit.core.errors import BackendError
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms
from mentor_kit_mlx import export
from mentor_kit_mlx.adapter_files import AdapterFile
from mentor_kit_mlx.adapters import dropouts
from mentor_kit_mlx.cache import UNFIT
from mentor_kit_mlx.context import longest_context
from mentor_kit_mlx.differentiable import UpdateMode
from mentor_kit_mlx.gradient_checkpointing import GradientCheckpointing, is_exact
from mentor_kit_mlx.gradient_trial import same_gradients, trial_gradients
from mentor_kit_mlx.lm_wrapper import MLXLMWrapper
from mentor_kit_mlx.loading import Loaded, compiles
from mentor_kit_mlx.memory import footprint, held_bytes, wanted_of
from mentor_kit_mlx.memory_errors import OutOfMemoryError, memory_errors
from mentor_kit_mlx.optimizer import MLXOptimizer, exact_weights, read_state
from mentor_kit_mlx.options import EXPORT_FORMATS, MLXOptions
from mentor_kit_mlx.params import Arrays, is_quantized, parameter_count, put, read_now, trained, write
from mentor_kit_mlx.random_state import random_state, seed_of
from mentor_kit_mlx.row_device import MLXRowDevice
from mentor_kit_mlx.row_states import check_quantized, keeps_rows, skips_padding
from mentor_kit_mlx.self_check import exact
from mentor_kit_mlx.state_size import state_size
from mentor_kit_mlx.update import completion_log_probs, loss_and_gradients

logger = logging.getLogger("mentor_kit_mlx")


class MLXPolicy(Replica[mx.array, MLXOptimizer]):
    """A policy over a model that is loaded already.

    Args:
        loaded: the model in evaluation mode, with its adapter on it if there is one.
        adapter: that adapter.
        student: what it was loaded from.
        options: the backend's.
        allowed: bytes that the run may take; None for no limit.

    Raises:
        BackendError: memory is too small for the weights.
    """

    export_formats = EXPORT_FORMATS
    memory_errors = (OutOfMemoryError,)

    def __init__(
        self,
        loaded: Loaded,
        adapter: AdapterFile | None,
        student: StudentSpec,
        options: MLXOptions,
        allowed: int | None,
    ) -> None:
        self.model = loaded.model
        self.options = options
        self.lm = MLXLMWrapper(self.model)
        super().__init__(
            student,
            vocabulary=self.lm.vocabulary,
            context=longest_context(self.model, loaded.config, options),
            token_budget=options.usual_budget,
        )
        self._loaded, self._adapter = loaded, adapter
        self._allowed, self._finds_budget = allowed, options.token_budget == "auto"
        self._is_limited = options.memory is not None
        self._whole_format = "mlx" if export.fault(loaded, adapter, "transformers") else None
        if self._whole_format is not None:
            logger.warning(
                "%s: the names that transformers has for its weights are not known: a run leaves its student as mlx-lm "
                "has it (format `mlx`)",
                student.model,
            )
        self._is_trainable = adapter is not None or not is_quantized(self.model)
        if not self._is_trainable:
            self.model.freeze()
        with exact(self.lm):
            self._keeps = keeps_rows(self.lm)
            skips = self._keeps and skips_padding(self.lm)
        self._shares = skips
        """Whether updates run a prompt once for its completions."""
        self._mode = UpdateMode(self.model, dropouts(self.model))
        if not self._keeps:
            logger.warning(
                "%s: what its layers keep is unknown: whole contexts are run for every token that is sampled, "
                "and a prompt is run again for each of its completions",
                student.model,
            )
        if options.quantized is not None:
            check_quantized(self.lm, options.quantized, keeps=self._keeps)
        self._recomputing = None
        if options.gradient_checkpointing is not False:
            self._recomputing = GradientCheckpointing(self.model, dropout=adapter is not None and adapter.dropout > 0)
        self.recomputes = False
        """Whether layers are computed again in the backward pass."""
        self._state_size = state_size(self.model, options.quantized)
        self._footprint = self._footprint_with(None)
        plan = self._plan(None)
        self._engine = StepEngine(
            MLXRowDevice(self.lm, keeps_rows=self._keeps, skips_padding=skips, quantized=options.quantized),
            slots=options.slots,
            context=self.context,
            chunk=options.prefill_chunk,
            token_budget=options.usual_budget,
            budget=plan.budget,
        )
        self._take(plan)

    @property
    def info(self) -> PolicyInfo:
        return PolicyInfo(
            model=self.student.model,
            parameters=parameter_count(self.model) - self._loaded.parameters_twice,
            trainable=sum(value.size for value in self.trained().values()),
            vocabulary=self.vocabulary,
            context=self.context,
            device=str(mx.default_device().type).removeprefix("DeviceType."),
            dtype=str(self.lm.dtype).removeprefix("mlx.core."),
            backend="mlx",
        )

    @property
    def allowed(self) -> int | None:
        """Bytes that it may take; None for no limit."""
        return self._allowed

    def engine(self) -> StepEngine:
        return self._engine

    def trained(self) -> Arrays:
        """As arrays never change, these are also the reference's without a copy."""
        return trained(self.model)

    def log_probs_of(self, batch: MicroBatch) -> mx.array:
        # in the mode of updates, so that a token has the same log-probability in both
        with self._mode.on(drops=False), memory_errors():
            found = completion_log_probs(self.lm, batch, share=self._shares)
            mx.eval(found)
        return found

    def backward(self, batch: MicroBatch, objective: Objective, reference: mx.array | None) -> LossTerms:
        recomputed = self._recomputing.on() if self._recomputing is not None and self.recomputes else nullcontext()
        with self._mode.on(drops=True), recomputed, memory_errors():
            terms, gradients = loss_and_gradients(self.lm, batch, objective, reference, share=self._shares)
        # nothing is added of a pass that fails, so that it can be run again
        self.prepared_optimizer().add(gradients)
        return terms

    @contextmanager
    def swapped(self, weights: Mapping[str, mx.array]) -> Iterator[None]:
        current = self.trained()
        try:
            put(self.model, weights)
            yield
        finally:
            put(self.model, current)

    def make_optimizer(self, spec: OptimizerSpec) -> MLXOptimizer:
        if not self._is_trainable:
            raise untrainable(self.student.model)
        self._try_gradient()
        return MLXOptimizer(self.model, spec, compiled=compiles(self.options))

    def optimizer_changed(self) -> None:
        """Leave memory for the optimizer, and find whether layers are recomputed beside it."""
        self._take(self._plan(None if self.optimizer is None else self.optimizer.spec))
        if self.optimizer is not None:
            self._decide_to_recompute()

    def snapshot_reference(self) -> None:
        super().snapshot_reference()
        self._take(self._plan(None if self.optimizer is None else self.optimizer.spec))

    def make_room(self) -> None:
        if (kept := self._memory.beside_update) is not None:
            self._engine.make_room(kept)
            mx.clear_cache()

    def free_memory(self) -> None:
        mx.clear_cache()

    def fits(self, shape: UpdateShape) -> bool:
        update = self._memory.update
        return update is None or self._footprint.update(shape, checkpointing=self.recomputes) <= update

    @property
    def runs_whole(self) -> bool:
        return not self._shares

    def drop_caches(self) -> None:
        self._engine.drop(self.version)

    def to_numpy(self, values: mx.array) -> Floats:
        return np.array(values)

    def write_arrays(self, path: Path, arrays: Mapping[str, mx.array]) -> None:
        write(path, dict(arrays))

    def read_arrays(self, path: Path) -> Arrays:
        return read_now(path)

    def read_optimizer(self, folder: Path) -> Arrays:
        return read_state(folder)

    def load_state(
        self,
        weights: Mapping[str, mx.array],
        reference: Mapping[str, mx.array] | None,
        spec: OptimizerSpec | None,
        state: Any,
    ) -> None:
        """In this model's type; an optimizer's float32 masters stay as they were."""
        masters = exact_weights(weights, state or {})
        optimizer = None if spec is None else self.make_optimizer(spec)
        if optimizer is not None:
            optimizer.load(state, masters)
        put(self.model, self._in_own_types(masters))
        self.reference = None if reference is None else self._in_own_types(reference)
        self.optimizer = optimizer

    def random_state(self) -> Json:
        return random_state()

    def set_random_state(self, states: Sequence[Json], rank: int = 0) -> None:
        mx.random.seed(seed_of(states, rank))

    def gradient_names(self) -> list[str]:
        return list(self.prepared_optimizer().gradients)

    def gradients(self, names: Collection[str]) -> Arrays:
        return self.prepared_optimizer().gradients_or_zeros(names)

    def put_gradients(self, gradients: Mapping[str, mx.array]) -> None:
        self.prepared_optimizer().gradients = dict(gradients)

    def optimizer_arrays(self, optimizer: MLXOptimizer) -> Arrays:
        return optimizer.state()

    @property
    def whole_format(self) -> str | None:
        return self._whole_format

    def export_fault(self, format: str) -> str | None:
        found = export.fault(self._loaded, self._adapter, format)
        return None if found is None else found.message

    def write_export(self, folder: Path, format: str) -> None:
        export.write(self._loaded, self._adapter, folder, format, base=self.student.model)

    def _in_own_types(self, weights: Mapping[str, mx.array]) -> Arrays:
        return {name: weights[name].astype(value.dtype) for name, value in self.trained().items()}

    def _footprint_with(self, optimizer: OptimizerSpec | None) -> Footprint:
        own = self.trained()
        count = sum(value.size for value in own.values())
        return footprint(
            self._loaded.config,
            self.model,
            held=held_bytes(self.model, optimizer, self.reference is not None),
            trained=TrainedSize(count, 0, self.lm.dtype.size, adapted=self._adapter is not None),
            sampled=self._state_size,
            vocabulary=self.vocabulary,
            context=self.context,
        )

    def _plan(self, optimizer: OptimizerSpec | None) -> MemoryPlan:
        """What it takes of the memory beside an optimizer.

        Raises:
            BackendError: it does not fit.
        """
        self._footprint = self._footprint_with(optimizer)
        wanted = wanted_of(self.options, slots=self.options.slots, context=self.context)
        return plan_memory(self._footprint, wanted, self._allowed, trains=optimizer is not None)

    def _take(self, plan: MemoryPlan) -> None:
        """Hold to a plan, and say what it made smaller, once."""
        self._memory = plan
        self._engine.budget = plan.budget
        self._engine.pass_tokens = plan.pass_tokens or self.options.usual_budget
        self._token_budget = plan.token_budget
        self.lm.logits_halvings = plan.halvings
        self.say_once(plan.shrunk)

    def _try_gradient(self) -> None:
        """Find whether the model has a gradient, and whether it flows through prompts that are shared.

        Raises:
            BackendError: an operation of the model has none.
        """
        try:
            with self._mode.on(drops=False):
                found = trial_gradients(self.lm, share=self._shares)
                # that of keys and values is known to; other state is tried
                if self._shares and not self._engine.device.cuts_rows:
                    self._shares = same_gradients(self.lm, found, trial_gradients(self.lm, share=False))
        except UNFIT as error:
            raise BackendError(
                f"{self.student.model} cannot be trained: its gradient cannot be computed: {first_line(error)}",
                hint="take another model, or `backend: torch`",
            ) from error
        if self._keeps and not self._shares:
            logger.warning(
                "%s: updates run a prompt again for each of its completions, with a group of eight eight times, "
                "as what its layers keep of a prompt cannot be shared",
                self.student.model,
            )

    def _decide_to_recompute(self) -> None:
        wanted = self.options.gradient_checkpointing
        self.recomputes = self._memory.checkpointing
        if not self.recomputes or self._recomputing is None:
            return
        with self._mode.on(drops=False):
            right = is_exact(self.lm, self._recomputing, share=self._shares)
        if not right:
            if wanted is True:
                raise BackendError(
                    f"backend.gradient_checkpointing: {self.student.model} would get wrong gradients",
                    hint="leave it out, and lower `backend.token_budget` to save memory",
                )
            logger.warning("%s: its layers cannot be checkpointed; everything is kept", self.student.model)
            self.recomputes = False
