"""The torch policy: a transformers model that samples, learns, and is saved."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from mentor_kit.backend.adapters import training
from mentor_kit.backend.distributed.replica import Replica
from mentor_kit.backend.engine import StepEngine
from mentor_kit.backend.flops import MachineLimits, Work
from mentor_kit.backend.folders import untrainable
from mentor_kit.backend.memory import TrainedSize
from mentor_kit.backend.memory_plan import MemoryPlan, UpdateShape, plan_memory
from mentor_kit.backend.microbatching import MicroBatch
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import PolicyInfo
from mentor_kit.backend.student import StudentSpec
from mentor_kit.backend.token_groups import Floats
from mentor_kit.core.errors import BackendError
from mentor_kit.core.frozen_model import Json
from mentor_kit.rl.objective import Objective
from mentor_kit.rl.policy_loss import LossTerms
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_torch import flops_counter, params
from mentor_kit_torch.adapters import dropouts, merged, quiet
from mentor_kit_torch.attention_trial import AttentionForm, choose
from mentor_kit_torch.chunked_logprobs import first_halvings
from mentor_kit_torch.compiled import compile_decoding
from mentor_kit_torch.cuda_graphs import Recorder, cuda_graphs, has_cuda_graphs, recording_fault
from mentor_kit_torch.determinism import named_determinism
from mentor_kit_torch.few_kernels import use_few_kernels
from mentor_kit_torch.layer_recomputing import LayerRecomputing
from mentor_kit_torch.lm_wrapper import TorchLMWrapper
from mentor_kit_torch.memory import footprint, held_bytes, hidden_parameters, wanted_of
from mentor_kit_torch.optimizer import TorchOptimizer, read_state
from mentor_kit_torch.options import EXPORT_FORMATS, TorchOptions
from mentor_kit_torch.other_weights import write_others
from mentor_kit_torch.quantized import is_quantized, parameter_count, plain_copy
from mentor_kit_torch.row_device import TorchRowDevice
from mentor_kit_torch.row_trial import row_abilities
from mentor_kit_torch.self_check import exact
from mentor_kit_torch.state_size import row_nbytes
from mentor_kit_torch.update import batch_loss, how_to_share, log_probs_of, read_terms
from mentor_kit_torch.update_inputs import UpdateInputs

logger = logging.getLogger("mentor_kit_torch")


class TorchPolicy(Replica[Tensor, TorchOptimizer]):
    """A policy over a model that is loaded already.

    Args:
        model: on its device, in evaluation mode; a peft model when there is an adapter.
        student: what it was loaded from.
        options: the backend's.
        allowed: bytes that the run may take; None for no limit.

    Raises:
        BackendError: memory is too small for it.
    """

    weights_stay = True
    """Whether weights stay where they are in memory, as recordings and joined weights need."""
    export_formats = EXPORT_FORMATS
    file_errors = (SafetensorError, UnpicklingError)
    memory_errors = (torch.OutOfMemoryError,)

    def __init__(self, model: Any, student: StudentSpec, options: TorchOptions, allowed: int | None = None) -> None:
        self.model = model
        self.options = options
        self._allowed, self._finds_budget = allowed, options.token_budget == "auto"
        self._is_limited = options.memory is not None
        self._inputs: tuple[MicroBatch, UpdateInputs] | None = None
        if student.adapter is None and is_quantized(model):
            model.requires_grad_(False)
        self.lm = TorchLMWrapper(model)
        # self-checks run in float32
        dtypes = dict.fromkeys((self.lm.dtype, torch.float32))
        heads = dict.fromkeys(shape for shape in flops_counter.attention_shapes(self.lm.config) if all(shape))
        asked = AttentionForm.of(self.lm.config, self.lm.masks, list(heads))
        self.lm.attention = choose(options.attention_kernels, self.lm.device, list(dtypes), asked)
        with exact(self.lm):
            self._rows = row_abilities(self.lm)
            shares = how_to_share(self.lm, self._rows.keeps, recompute=options.gradient_checkpointing is True)
        self._sharing, self._attends_prefix = shares.sharing, shares.parts
        self._recomputing: LayerRecomputing | None = None
        if options.gradient_checkpointing is True and self.lm.fused is None:
            self._recomputing, self._sharing = LayerRecomputing(self.lm.decoder), "none"
            self._attends_prefix = False
        super().__init__(
            student,
            vocabulary=self.lm.vocabulary,
            context=min(self.lm.longest_context, options.max_context or self.lm.longest_context),
            token_budget=options.usual_budget,
            packed=self._sharing == "tree",
        )
        if not self._rows.keeps:
            logger.warning(
                "%s: its layers keep other state than rows can hold: each token takes a pass over all before it",
                student.model,
            )
        if self._recomputing is not None and self._rows.keeps:
            logger.warning(
                "%s: layers that are recomputed share no prompt: updates run it again for each of its completions",
                student.model,
            )
        elif self._sharing == "none":
            logger.warning(
                "%s: sequences cannot share its layers' state: updates run a prompt again for each of its completions",
                student.model,
            )
        if self._recomputing is not None and not self._recomputing.works:
            raise BackendError(
                f"{student.model}: its layers cannot be recomputed in the backward pass",
                hint="leave `backend.gradient_checkpointing` out, and lower `backend.token_budget` to save memory",
            )
        if self._sharing == "prompts":
            logger.warning(
                "%s: not every layer attends to all earlier tokens: updates share each prompt, not prefixes of several",
                student.model,
            )
        if options.compile:
            compile_decoding(self.lm)
        elif self.weights_stay and self._attends_prefix and self.lm.device.type not in ("cpu", "mps"):
            use_few_kernels(self.lm)
        recorder = self._recorder()
        self._row_bytes = row_nbytes(model, self.lm.config) if self._rows.keeps else 0
        plan = self._plan(None)
        self._engine = StepEngine(
            TorchRowDevice(
                self.lm,
                self._rows,
                attends_prefix=self._attends_prefix,
                recorder=recorder,
                graph_memory=int(options.graph_memory * 2**30),
            ),
            slots=options.slots,
            context=self.context,
            chunk=options.prefill_chunk,
            token_budget=options.usual_budget,
            budget=plan.budget,
        )
        self._take(plan)

    def _recorder(self) -> Recorder | None:
        """What records decoding passes, if anything is to do so, and a trial finds it right."""
        wanted, keeps = self.options.cuda_graphs, self.weights_stay and self._rows.keeps and self._rows.cuts
        if wanted is False or (wanted == "auto" and not has_cuda_graphs(self.lm.device, keeps)):
            return None
        recorder = cuda_graphs(self.lm.device, keeps)
        if fault := recording_fault(self.lm, self._attends_prefix or self._rows.parts, recorder):
            logger.warning("%s: decoding passes are not recorded as CUDA graphs: %s", self.student.model, fault)
            return None
        return recorder

    @property
    def info(self) -> PolicyInfo:
        return PolicyInfo(
            model=self.student.model,
            parameters=parameter_count(self.model),
            trainable=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            vocabulary=self.vocabulary,
            context=self.context,
            device=str(self.lm.device),
            dtype=params.dtype_name(self.lm.dtype),
            backend="torch",
        )

    def engine(self) -> StepEngine:
        return self._engine

    def limits(self) -> MachineLimits:
        return flops_counter.limits(self.lm.device, self.lm.dtype)

    def work(self) -> dict[str, Work]:
        return self.lm.meter.work()

    def peak_memory(self) -> int | None:
        return flops_counter.peak_memory(self.lm.device)

    def trained(self) -> dict[str, Tensor]:
        return params.trained(self.model)

    def log_probs_of(self, batch: MicroBatch) -> Tensor:
        with torch.no_grad():
            return log_probs_of(self.lm, self._inputs_of(batch))

    def backward(self, batch: MicroBatch, objective: Objective, reference: Tensor | None) -> LossTerms:
        # in the backward pass too: layers that are recomputed there must drop the same units
        recomputed = nullcontext() if self._recomputing is None else self._recomputing.on()
        with training(dropouts(self.model)), recomputed:
            terms = batch_loss(self.lm, self._inputs_of(batch), objective, reference)
            if terms.loss.requires_grad:
                terms.loss.backward()
        return LossTerms(terms.loss.detach(), terms.sums, terms.maxima)

    def _inputs_of(self, batch: MicroBatch) -> UpdateInputs:
        """A micro-batch on the device, where the reference's pass may have put it already."""
        if self._inputs is None or self._inputs[0] is not batch:
            self._inputs = batch, UpdateInputs.of(batch, self._sharing, self.lm.device, self.lm.flex_reaches)
        return self._inputs[1]

    def read_terms(self, found: Sequence[LossTerms]) -> list[LossTerms]:
        return read_terms(found)

    def swapped(self, weights: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        if weights:
            return params.swapped(self.model, weights)
        bare: AbstractContextManager[None] = self.model.disable_adapter()
        return bare

    def reference_weights(self) -> dict[str, Tensor]:
        """A copy of the trained parameters.

        A new, untrained adapter adds nothing, so the model without it is the reference, and nothing is copied.
        """
        adapter = self.student.adapter
        if adapter is not None and adapter.path is None and self.version == 0:
            return {}
        return {name: value.clone() for name, value in self.trained().items()}

    def make_optimizer(self, spec: OptimizerSpec) -> TorchOptimizer:
        if self.student.adapter is None and is_quantized(self.model):
            raise untrainable(self.student.model)
        optimizer = TorchOptimizer(self.model, spec)
        optimizer.clear()
        return optimizer

    def optimizer_changed(self) -> None:
        """Leave memory for the optimizer."""
        self._take(self._plan(None if self.optimizer is None else self.optimizer.spec))

    def snapshot_reference(self) -> None:
        super().snapshot_reference()
        self.optimizer_changed()

    def make_room(self) -> None:
        if (kept := self._memory.beside_update) is not None:
            self._engine.make_room(kept)

    def free_memory(self) -> None:
        self._inputs = None
        if self.lm.device.type == "cuda":
            torch.cuda.empty_cache()

    def fits(self, shape: UpdateShape) -> bool:
        update = self._memory.update
        return update is None or self._footprint.update(shape, checkpointing=self._memory.checkpointing) <= update

    @property
    def runs_whole(self) -> bool:
        return self._sharing == "none"

    def _plan(self, optimizer: OptimizerSpec | None) -> MemoryPlan:
        """What it takes of the memory beside an optimizer.

        Raises:
            BackendError: it does not fit.
        """
        own = self.trained().values()
        count = sum(value.numel() for value in own)
        adapted = self.student.adapter is not None
        trained = TrainedSize(count, 0, self.lm.dtype.itemsize, adapted=adapted)
        hidden = count if adapted else hidden_parameters(self.model)
        moments = 0 if optimizer is None else optimizer.moment_bytes(count, hidden)
        reference = sum(value.nbytes for value in (self.reference or {}).values())
        self._footprint = footprint(
            self.lm.config,
            held=held_bytes(self.model, trained, moments, reference),
            trained=trained,
            row=self._row_bytes,
            sharing=self._sharing,
            device=self.lm.device,
            recomputes=self.lm.fused is not None,
        )
        wanted = wanted_of(self.options, slots=self.options.slots, context=self.context)
        return plan_memory(self._footprint, wanted, self._allowed, trains=optimizer is not None)

    def _take(self, plan: MemoryPlan) -> None:
        """Hold to a plan, and say what it made smaller, once."""
        self._memory = plan
        self._engine.budget = plan.budget
        self._engine.pass_tokens = plan.pass_tokens or self.options.usual_budget
        self._token_budget = plan.token_budget
        first = first_halvings(self.lm.device, trained=self.student.adapter is None)
        self.lm.logits_halvings = first + plan.halvings
        if self.lm.fused is not None:
            self.lm.fused.recompute = plan.checkpointing
        self.say_once(plan.shrunk)

    @contextmanager
    def updating(self) -> Iterator[None]:
        with super().updating(), self.lm.meter.on("update"), named_determinism():
            yield

    def drop_caches(self) -> None:
        self._engine.drop(self.version)

    def to_numpy(self, values: Tensor) -> Floats:
        return values.cpu().numpy()

    def write_arrays(self, path: Path, arrays: Mapping[str, Tensor]) -> None:
        params.write(path, arrays)

    def read_arrays(self, path: Path) -> dict[str, Tensor]:
        return params.read(path)

    def read_optimizer(self, folder: Path) -> Any:
        return read_state(folder)

    def load_state(
        self,
        weights: Mapping[str, Tensor],
        reference: Mapping[str, Tensor] | None,
        spec: OptimizerSpec | None,
        state: Any,
    ) -> None:
        params.put(self.model, weights)
        self.reference = None if reference is None else params.placed_alike(self.model, reference)
        if self.optimizer is not None:
            self.optimizer.close()
        self.optimizer = None if spec is None else TorchOptimizer(self.model, spec)
        if self.optimizer is not None:
            self.optimizer.load(state, weights)

    def random_state(self) -> Json:
        """Of the CPU, and then of every GPU."""
        return [state.tolist() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]

    def set_random_state(self, states: Sequence[Json], rank: int = 0) -> None:
        if rank >= len(states):
            # a process that did not hold the policy, whose rows must not drop the same units as another's
            torch.manual_seed(derive_seed(0, "process", rank, *states[0][0]))
            return
        cpu, *gpus = (torch.tensor(state, dtype=torch.uint8) for state in states[rank])
        torch.set_rng_state(cpu)
        if len(gpus) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(gpus)

    # for the policies of several processes

    def gradient_names(self) -> list[str]:
        return self.prepared_optimizer().gradient_names()

    def gradients(self, names: Collection[str]) -> dict[str, Tensor]:
        return self.prepared_optimizer().gradients(names)

    def put_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        self.prepared_optimizer().put_gradients(gradients)

    def optimizer_arrays(self, optimizer: TorchOptimizer) -> dict[str, Tensor]:
        return optimizer.arrays()

    def load_arrays(
        self,
        weights: Mapping[str, Tensor],
        reference: Mapping[str, Tensor] | None,
        spec: OptimizerSpec | None,
        state: Mapping[str, Tensor],
    ) -> None:
        self.load_state(weights, reference, None, None)
        if spec is not None:
            self.optimizer = self.make_optimizer(spec)
            self.optimizer.load_arrays(state)

    def write_export(self, folder: Path, format: str) -> None:
        if format == "adapter":
            with quiet():
                self.model.save_pretrained(folder)
            # peft's own card has nothing but lines to fill in, and the path of the base model
            (folder / "README.md").unlink(missing_ok=True)
        else:
            whole = self._whole()
            whole.save_pretrained(folder)
            write_others(whole, self.student, folder)

    def _whole(self) -> Any:
        """The student in plain weights, its adapter merged."""
        if is_quantized(self.model):
            self._engine.make_room(0)  # for a copy of its weights
            self.free_memory()
        if self.student.adapter is not None:
            return merged(self.model)
        return plain_copy(self.model) if is_quantized(self.model) else self.model
